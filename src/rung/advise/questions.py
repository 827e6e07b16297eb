"""The questions of the flowchart as data: those that a team may answer, with what is assumed, and those that are counted."""

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
    """One answer, and where it comes from."""

    key: str
    value: Value
    origin: Origin
    """given: rung.yaml or `--ask` says so; read: counted in the task, its data or the machine; assumed: nobody said."""
    how: str = ""
    """What it was read off, or why it is assumed."""


@dataclass(frozen=True, slots=True)
class Assumption:
    """What is taken where neither the team nor the data answers."""

    value: Value
    why: str


ASSUMED: Mapping[str, Assumption] = {
    "external_knowledge": Assumption("no", "most tasks can be answered from the input"),
    "changing": Assumption("no", "nothing at hand is dated"),
    "must_cite": Assumption("no", "few formats have room for a source"),
    "own_style": Assumption("no", "the rows show no fixed form"),
    "hallucination": Assumption("seldom", "the middle way"),
    "keep_general_skills": Assumption("no", "a model of one task need not do others"),
    "new_language": Assumption("no", "without rows there is nothing to tell by"),
    "checkable": Assumption("no", "most answers need a reference to be judged"),
    "labels_clean": Assumption("yes", "there are no rows to find faults in"),
    "data_may_leave": Assumption("no", "the careful way"),
    "teacher": Assumption("none", "no stronger model is named"),
    "expertise": Assumption("some", "the middle way"),
    "money_usd": Assumption(100.0, "what a team spends without asking"),
}
"""Every key of `needs` in rung.yaml, whose docstring is the question, with the default."""

COUNTED: Mapping[str, str] = {
    "kind": "kind of task",
    "rows": "training rows",
    "labels": "labels to choose from",
    "rows_per_label": "training rows a label, of the rarer half",
    "input_tokens": "tokens of an input",
    "output_tokens": "tokens of an answer",
    "pairs": "pairs of a better and a worse answer",
    "unlabelled": "inputs without an answer",
    "documents": "documents to look things up in",
    "corpus_tokens": "tokens of raw domain text, by its size",
    "volume": "calls a month",
    "latency_ms": "longest wait allowed, in milliseconds",
    "parameters": "parameters of the base model, 0 where nobody says",
    "small_base": "whether the base has under a billion parameters",
    "open_weights": "whether the weights can be trained here",
    "gpu": "whether there is a GPU",
    "memory_gb": "memory for the model, in GB",
    "full_memory_gb": "memory that full fine-tuning takes, in GB",
    "full_fits": "whether full fine-tuning fits into memory",
    "corpus_hours": "hours to read the raw text once in training",
    "hardware": "what there is to compute on",
}
"""What is never asked because it can be counted or measured."""


def question(key: str) -> str:
    """The question of a key, in words."""
    return COUNTED.get(key) or TaskNeeds.model_fields[key].description or key


def choices(key: str) -> tuple[Value, ...]:
    """The answers that a question allows; empty where it is a number."""
    if key not in TaskNeeds.model_fields:
        return ()
    kinds = get_args(TaskNeeds.model_fields[key].annotation)
    if NoneType not in kinds:
        return ()
    return tuple(value for kind in kinds for value in get_args(kind) if isinstance(value, str))


def others(answer: Answer) -> tuple[Value, ...]:
    """What else might be answered: the other choices, or of a number a thousandth and a thousand times as much."""
    found = choices(answer.key)
    if found:
        return tuple(value for value in found if value != answer.value)
    return (float(answer.value) / 1000, float(answer.value) * 1000)
