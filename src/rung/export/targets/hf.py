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
    given, read = _tools(source)
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
        f'text = tokenizer.decode(found[0, ids["input_ids"].shape[1]:], skip_special_tokens=True)\nprint(text)\n```{read}'
    )


READ_CALLS = """

The text is calls of the tools. They are read from it so; `ValueError` is a text that is no call:

```python
form = asked["tool_calls"]
inner = text.strip().removeprefix(form["before"].strip()).removesuffix(form["after"].strip())
parts = inner.split(form["between"].strip()) if form["between"] else [inner]
calls = [] if text.strip() == "[]" else [json.loads(part) for part in parts]  # each has a name and its arguments
```"""
READ_LIST = """

The text is a JSON list of calls, each with its `name` and `arguments`: `calls = json.loads(text)`. The tools are listed in the
system message, as the chat template has no form for them."""


def _tools(source: Source) -> tuple[str, str]:
    """Of a rung that calls tools: what the template is given besides, and how calls are read from the text."""
    known = source.predictor.tools
    if known is None:
        return "", ""
    return ("", READ_LIST) if known.in_text else ('tools=asked["tools"], ', READ_CALLS)


HF = Target("hf", "a folder for transformers", ("f32", "bf16", "f16"), write, use, "transformers", adapter_kinds=("f32",))
