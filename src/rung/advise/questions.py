"""The flowchart's questions: those a team may answer, with defaults, and those that are counted or measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Literal, get_args

from rung.task import TaskNeeds

Value = str | int | float
Origin = Literal["given", "read", "assumed"]


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer and its origin."""

    key: str
    value: Value
    origin: Origin
    """given: from rung.yaml or `--ask`; read: counted in task, data or machine; assumed: a default."""
    how: str = ""
    """What it was inferred from, or why it is assumed."""


@dataclass(frozen=True, slots=True)
class Assumption:
    """A default for a question that neither team nor data answers."""

    value: Value
    why: str


ASSUMED: Mapping[str, Assumption] = {
    "external_knowledge": Assumption("no", "most tasks can be answered from the input"),
    "changing": Assumption("no", "no document is dated"),
    "must_cite": Assumption("no", "few formats have room for a source"),
    "own_style": Assumption("no", "the rows show no fixed form"),
    "hallucination": Assumption("seldom", "a middle setting"),
    "keep_general_skills": Assumption("no", "a single-task model need not do others"),
    "new_language": Assumption("no", "there are no rows to tell from"),
    "checkable": Assumption("no", "most answers need a reference to be scored"),
    "labels_clean": Assumption("yes", "there are no rows to find faults in"),
    "data_may_leave": Assumption("no", "the cautious default"),
    "teacher": Assumption("none", "no stronger model is named"),
    "expertise": Assumption("some", "a middle setting"),
    "money_usd": Assumption(100.0, "what a team spends without asking"),
}
"""Each key of `needs` in rung.yaml with its default; the key's docstring is the question."""

COUNTED: Mapping[str, str] = {
    "kind": "kind of task",
    "rows": "training rows",
    "labels": "labels to choose from",
    "rows_per_label": "training rows per label (median)",
    "input_tokens": "tokens of an input",
    "output_tokens": "tokens of an answer",
    "pairs": "pairs of a better and a worse answer",
    "unlabelled": "inputs without an answer",
    "documents": "documents to retrieve from",
    "corpus_tokens": "tokens of raw domain text, estimated from its size",
    "volume": "calls a month",
    "latency_ms": "longest wait allowed, in milliseconds",
    "parameters": "parameters of the base model, 0 if unknown",
    "small_base": "whether the base has under a billion parameters",
    "open_weights": "whether the weights can be trained here",
    "gpu": "whether there is a GPU",
    "memory_gb": "memory for the model, in GB",
    "full_memory_gb": "memory that full fine-tuning takes, in GB",
    "full_fits": "whether full fine-tuning fits into memory",
    "corpus_hours": "hours to read the raw text once in training",
    "hardware": "hardware",
}
"""Facts that are counted or measured and never asked."""


def question(key: str) -> str:
    """The question behind a key."""
    return COUNTED.get(key) or TaskNeeds.model_fields[key].description or key


def choices(key: str) -> tuple[Value, ...]:
    """The allowed answers; empty for numbers."""
    if key not in TaskNeeds.model_fields:
        return ()
    kinds = get_args(TaskNeeds.model_fields[key].annotation)
    if NoneType not in kinds:
        return ()
    return tuple(value for kind in kinds for value in get_args(kind) if isinstance(value, str))


def alternatives(answer: Answer) -> tuple[Value, ...]:
    """Other possible answers: the other choices, or a thousandth and a thousand times a number."""
    found = choices(answer.key)
    if found:
        return tuple(value for value in found if value != answer.value)
    return (float(answer.value) / 1000, float(answer.value) * 1000)
