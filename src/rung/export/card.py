"""The model card of an export: what it is, how it must be asked, what was measured, and what was proven."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

from rung.export import asking
from rung.export.kinds import Form
from rung.export.proof import Proof
from rung.export.source import Source
from rung.types import Interval, Record
from rung.version import __version__
from rung.visible import one_line, visible

LICENCES = {"apache-2.0": "apache-2.0", "mit": "mit", "gemma terms of use": "gemma"}
"""Names of licences as hubs spell them."""


def text(source: Source, form: Form, proof: Proof) -> str:
    """The card as Markdown with its front matter."""
    parts = [
        f"---\n{yaml.safe_dump(front(source, form), sort_keys=False, allow_unicode=True)}---",
        f"# {_line(source.rung)} for: {_line(source.project.task.task, 80)}",
        _opening(source, form),
        _use(form),
        "## What these files alone do not do\n\n" + "\n".join(f"- {one}" for one in asking.limits(source)),
        "## Measured\n\n" + _measured(source),
        "## Proof\n\n" + proven(proof),
        "## Origin\n\n" + _origin(source),
    ]
    return visible("\n\n".join(parts)) + "\n"


def front(source: Source, form: Form) -> dict[str, Any]:
    """The front matter that hubs read."""
    licence = LICENCES.get(source.base.licence.lower())
    name = public(source)
    return {
        **({"license": licence} if licence else {}),
        **({"base_model": name} if re.fullmatch(r"[\w.-]+/[\w.-]+", name) else {}),
        "library_name": {"hf": "peft" if form.adapter else "transformers"}.get(form.to, "gguf"),
        "pipeline_tag": "text-generation",
        "tags": ["rung", *sorted({part.partition("@")[0] for part in source.rung.split("+")})],
    }


def public(source: Source) -> str:
    """The base's name as others know it: its id on the hub; of a local file or folder the last part of its path."""
    from rung.lm.models.resolve import KNOWN

    name = source.base.name
    if name in KNOWN:
        return KNOWN[name].hub
    hub = re.fullmatch(r"hub (\S+)@\S+", source.base.source)
    return hub[1] if hub else re.split(r"[/\\]", name.rstrip("/\\"))[-1]


def proven(proof: Proof) -> str:
    """The proof as Markdown."""
    of, places = proof.rows, proof.places
    lines = [
        f"Loaded by {proof.engine} and asked {of} dev rows beside the original (rung, float32); "
        f"answers up to {proof.most} tokens. "
        + ("**Passed.**" if proof.passed else f"**Failed:** {_line('; '.join(proof.faults), 600)}."),
        "| compared | result |\n|---|---|\n"
        f"| prompts rendered to the same text | {proof.rendered} of {of} |\n"
        f"| prompts cut into the same tokens | {proof.cut} of {of} |\n"
        f"| difficult texts cut into the same tokens | {proof.texts_same} of {proof.texts} |\n"
        f"| same greedy answer | {proof.answers} of {of} |\n"
        f"| same likeliest next token along the original's answers | {proof.agreed} of {places} |\n"
        f"| largest margin of a miss | {proof.margin:.2g} nats (limit {proof.limits.margin:g}) |",
    ]
    if found := proof.scores:
        lines.append(
            f"| {found.metric} on these rows | score |\n|---|---|\n"
            f"| `rung ask` | {found.rung} |\n"
            f"| the original, writing freely | {found.original} |\n"
            f"| the export, writing freely | {found.export} |\n"
            f"| the export less the original, paired | {signed(found.difference)} |"
            + (f"\n| the export less `rung ask`, paired | {signed(found.plainly)} |" if found.plainly else "")
        )
    return "\n\n".join(lines)


def signed(found: Interval) -> str:
    """A difference with its interval."""
    return f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}], n={found.n}"


def _opening(source: Source, form: Form) -> str:
    what = "The adapter" if form.adapter else "The weights"
    how = {"f32": "float32", "f16": "float16", "bf16": "bfloat16", "q8_0": "Q8_0 (8 bits in blocks of 32)"}[form.kind]
    written = "as it was trained" if form.adapter else f"in {how}"
    made = f"{what} of the rung `{_line(source.rung)}`, {written}. Written by rung {__version__}."
    untrained = not source.predictor.model.files
    return (
        f"{made} Nothing was trained: the weights are those of the base, and the rung lies in how it is asked."
        if untrained
        else made
    )


def _use(form: Form) -> str:
    if form.to != "hf":
        return "## Use\n\nSee `prompt.json` for the messages that this model was fitted and measured with."
    opened = (
        'model = AutoPeftModelForCausalLM.from_pretrained(".")  # fetches the base'
        if form.adapter
        else 'model = AutoModelForCausalLM.from_pretrained(".")'
    )
    library = "from peft import AutoPeftModelForCausalLM\n" if form.adapter else ""
    names = "AutoTokenizer" if form.adapter else "AutoModelForCausalLM, AutoTokenizer"
    return (
        "## Use\n\nThe model was measured with the messages in `prompt.json`; asked in other words it answers otherwise.\n\n"
        f"```python\nimport json\n\n{library}from transformers import {names}\n\n"
        f'{opened}\ntokenizer = AutoTokenizer.from_pretrained(".")\n'
        'asked = json.load(open("prompt.json", encoding="utf-8"))["messages"]\n'
        'asked[-1]["content"] = asked[-1]["content"].replace("{input}", "the text to answer")\n'
        "text = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)\n"
        'ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")\n'
        "found = model.generate(**ids, max_new_tokens=64)\n"
        'print(tokenizer.decode(found[0, ids["input_ids"].shape[1]:], skip_special_tokens=True))\n```'
    )


def _measured(source: Source) -> str:
    record = source.record
    if record is None or record.scores is None:
        return "Nothing: this rung was exported before it was measured. `rung fit FOLDER RUNG` measures it."
    goal = source.project.task.goal
    rows = [(f"{record.scores.metric} (dev)", f"{record.scores.overall}; the goal is at least {goal.at_least:g}")]
    rows += [(f"{name} (dev)", str(found)) for name, found in record.scores.others.items()]
    if found := _test(source):
        rows.append((f"{record.scores.metric} (test, opened once)", str(found)))
    if record.forgetting:
        lost = record.forgetting
        rows.append((f"forgetting: rise of the loss on general text, {lost.unit}", signed(lost.loss)))
        rows.append(("forgetting: change of accuracy on general questions", signed(lost.accuracy)))
    return "| measure | value |\n|---|---|\n" + "\n".join(f"| {name} | {value} |" for name, value in rows)


def _test(source: Source) -> Interval | None:
    """The score on the sealed rows, where the last climb opened them for this rung."""
    last = source.project.store.read("decision.json")
    record = source.record
    if not (record and last.get("test") and last["decision"]["chosen"] == source.rung):
        return None
    if all(one.get("predictor") != record.predictor for one in last["records"]):
        return None
    return Interval(**last["test"]["overall"])


def _origin(source: Source) -> str:
    base = source.base
    licence = base.licence or "not known to rung; see the base's own page"
    rows = [("base", public(source)), ("licence of the base", licence), ("digest of the base", f"`{base.digest}`")]
    rows += [("digest of the predictor", f"`{source.predictor.digest}`")]
    if source.record:
        rows += _provenance(source.record)
    table = "| | |\n|---|---|\n" + "\n".join(f"| {name} | {_line(value, 200)} |" for name, value in rows)
    return f"{table}\n\nThe rows themselves are not part of this folder, but for the demonstrations in `prompt.json`."


def _provenance(record: Record) -> list[tuple[str, str]]:
    known = record.provenance
    digests = {"train": known.train, "dev": known.dev, "test": known.test}
    rows = [(f"digest of the {name} rows", f"`{value}`") for name, value in digests.items() if value]
    if known.options:
        rows.append(("methods and options", f"`{json.dumps([dict(one) for one in known.options], ensure_ascii=False)}`"))
    rows += [("seed", str(known.seed))] if known.seed is not None else []
    return rows


def _line(value: str, most: int = 120) -> str:
    """A text of the task in one line that ends no table cell and opens no markup."""
    line = one_line(" ".join(value.split()))
    line = line if len(line) <= most else line[: most - 1] + "…"
    return re.sub(r"([|<>\[\]*_`#\\])", r"\\\1", line) if not line.startswith("`") else line.replace("|", "\\|")
