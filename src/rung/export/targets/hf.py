"""A folder for transformers: merged weights or an adapter, the tokenizer with its chat template, how answers end."""

from __future__ import annotations

from pathlib import Path

from rung.export.source import Source, public
from rung.export.targets.base import Form, Made, Target


def write(source: Source, form: Form, folder: Path) -> Made:
    """Write the folder and load it by transformers."""
    from rung.lm.export import hf_folder
    from rung.lm.export.merged import adapter_of, merged
    from rung.lm.export.plain import PlainTransformers

    ref, base = source.predictor.model, source.base.folder
    if form.adapter:
        place, adapter = adapter_of(base, ref.files)
        hf_folder.write_adapter(adapter, source.chat, public(source), folder)
        return Made(PlainTransformers(folder, place))
    made = merged(base, ref.files, form.kind)
    hf_folder.write(made, folder, form.kind, source.predictor.decoding)
    return Made(PlainTransformers(folder), made.changed)


def use(source: Source, form: Form) -> str:
    """Python that asks the folder."""
    opened = (
        'model = AutoPeftModelForCausalLM.from_pretrained(".")  # fetches the base'
        if form.adapter
        else 'model = AutoModelForCausalLM.from_pretrained(".")'
    )
    given, decoded, read = _tools(source)
    library = "from peft import AutoPeftModelForCausalLM\n" if form.adapter else ""
    names = "AutoTokenizer" if form.adapter else "AutoModelForCausalLM, AutoTokenizer"
    return (
        "The model was measured with the messages in `prompt.json`; asked in other words it answers otherwise.\n\n"
        f"```python\nimport json\n\n{library}from transformers import {names}\n\n"
        f'{opened}\ntokenizer = AutoTokenizer.from_pretrained(".")\n'
        'asked = json.load(open("prompt.json", encoding="utf-8"))\nturns = asked["messages"]\n'
        'turns[-1]["content"] = turns[-1]["content"].replace("{input}", "the text to answer")\n'
        f"text = tokenizer.apply_chat_template(turns, {given}tokenize=False, add_generation_prompt=True)\n"
        'ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")\n'
        'found = model.generate(**ids, max_new_tokens=asked["max_new_tokens"])\n'
        f'text = tokenizer.decode(found[0, ids["input_ids"].shape[1]:], {decoded}\nprint(text)\n```{read}'
    )


PLAIN = "skip_special_tokens=True)"
"""How answers are decoded."""
MARKED = """skip_special_tokens=False)
for stop in asked["stop"]:
    text = text.split(stop)[0]"""
"""How calls are decoded: the marks around them may be special tokens."""

READ_CALLS = """

The text is calls of the tools. They are read from it so, each with its `name` and its arguments under `form["arguments"]`;
`ValueError` is a text that is no call:

```python
form, calls, rest = asked["tool_calls"], [], text.strip()
before, between, after = ((form[part] or "").strip() for part in ("before", "between", "after"))
if rest != "[]":  # no tool is called
    rest = rest.removeprefix(before).lstrip()
    while not calls or rest != after:
        call, end = json.JSONDecoder().raw_decode(rest)
        calls.append(call)
        rest = rest[end:].lstrip()
        if rest != after:
            rest = rest.removeprefix(between).lstrip()
```"""
READ_LIST = """

The text is a JSON list of calls, each with its `name` and `arguments`: `calls = json.loads(text)`. The tools are listed in the
system message, as the chat template has no form for them."""


def _tools(source: Source) -> tuple[str, str, str]:
    """Of a rung that calls tools: what the template is given besides, how the text is decoded, how calls are read from it."""
    known = source.predictor.tools
    if known is None:
        return "", PLAIN, ""
    return ("", PLAIN, READ_LIST) if known.in_text else ('tools=asked["tools"], ', MARKED, READ_CALLS)


HF = Target("hf", "a folder for transformers", ("f32", "bf16", "f16"), write, use, "transformers", adapter_kinds=("f32",))
