"""The model card of an export: what it is, how it must be asked, what was measured, and what was proven."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

from rung.export.proof import Proven, signed
from rung.export.source import Source, public
from rung.export.targets.base import NUMBERS, Form
from rung.types import Interval, Record
from rung.version import __version__
from rung.visible import one_line, visible

LICENCES = {"apache-2.0": "apache-2.0", "mit": "mit", "gemma terms of use": "gemma"}
"""Names of licences as hubs spell them."""


def text(source: Source, form: Form, proof: Proven) -> str:
    """The card as Markdown with its front matter."""
    parts = [
        f"---\n{yaml.safe_dump(front(source, form), sort_keys=False, allow_unicode=True)}---",
        f"# {_line(source.rung)} for: {_line(source.project.task.task, 80)}",
        _opening(source, form),
        "## Use\n\n" + form.target.use(source, form),
        *_limits(form.target.limits(source)),
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
        "library_name": form.library,
        "pipeline_tag": "text-classification" if source.encoder else "text-generation",
        "tags": ["rung", *sorted({part.partition("@")[0] for part in source.rung.split("+")})],
    }


def proven(proof: Proven) -> str:
    """The proof as Markdown."""
    verdict = "**Passed.**" if proof.passed else f"**Failed:** {_line('; '.join(proof.faults), 600)}."
    parts = [f"Loaded by {proof.engine} and asked {proof.rows} dev rows beside the original (rung, float32). {verdict}"]
    for head, lines in (("compared | result", proof.compared()), ("score on these rows | ", proof.scored())):
        if lines:
            parts.append(f"| {head} |\n|---|---|\n" + "\n".join(f"| {name} | {value} |" for name, value in lines))
    return "\n\n".join(parts)


def _opening(source: Source, form: Form) -> str:
    what = "The weights" if not form.adapter else "The base and the adapter" if form.target.brings_base else "The adapter"
    written = NUMBERS[form.kind] if form.target.brings_base or not form.adapter else "as it was trained"
    made = f"{what} of the rung `{_line(source.rung)}`, {written}. Written by rung {__version__}."
    if source.predictor.model.files:
        return made
    return f"{made} Nothing was trained: the weights are those of the base, and the rung lies in how it is asked."


def _limits(found: list[str]) -> list[str]:
    return ["## What these files alone do not do\n\n" + "\n".join(f"- {one}" for one in found)] if found else []


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
    shown = ", but for the demonstrations in `prompt.json`" if source.predictor.demos.fixed else ""
    return f"{table}\n\nThe rows themselves are not part of this folder{shown}."


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
