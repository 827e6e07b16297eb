"""Metrics for tasks that answer with JSON: F1 over its fields, and equality of the whole."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from rung.errors import DataError
from rung.metrics import text
from rung.metrics.resample import Corpus
from rung.metrics.stats import Array
from rung.types import Example

_FENCE = re.compile(r"```(?:json)?\s*(.*?)```", re.DOTALL | re.IGNORECASE)

Fields = Counter[tuple[str, str, Any]]
"""(path, type, value) with its multiplicity."""


def fields(answer: str) -> Fields | None:
    """The filled-in fields of a JSON text, bare or in a ```json fence; None where it cannot be read.

    A list counts as a bag: `items[0].name` and `items[1].name` are both `items[].name`. Null, `[]` and `{}` say that
    nothing was found and are no fields. Text is compared without regard to how its white space is laid out; 3 and 3.0
    are one number, "3" is another value.
    """
    fenced = _FENCE.search(answer)
    for candidate in (answer, fenced.group(1)) if fenced else (answer,):  # bare first: a string may hold a fence
        try:
            return Counter(_flat("", json.loads(candidate)))
        except (ValueError, RecursionError):  # a model caught in a loop of brackets is no JSON either
            continue
    return None


def _flat(path: str, value: Any) -> Iterator[tuple[str, str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(f"{path}.{key}", inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _flat(f"{path}[]", inner)
    elif isinstance(value, str):
        yield path, "text", " ".join(value.split())
    elif isinstance(value, bool):  # before numbers: True == 1 in Python
        yield path, "bool", value
    elif value is not None:
        yield path, "number", value


def _counts(output: str, reference: str, where: str = "") -> tuple[int, int, int]:
    """Fields right, answered, due. An answer that cannot be read counts as one wrong field."""
    due = fields(reference)
    if due is None:
        raise DataError(
            f"the output {reference[:80]!r} is no JSON, which field_f1 compares.",
            where=where,
            remedy="Write the output as a JSON object, or choose another metric.",
        )
    said = fields(output)
    if said is None:
        return 0, 1, due.total()
    return (said & due).total(), said.total(), due.total()


def row_f1(output: str, reference: str, example: Example) -> float:
    """F1 of one row's fields; 1 where none was due and none was given."""
    right, said, due = _counts(output, reference, example.where)
    return 2 * right / (said + due) if said + due else 1.0


def _field_columns(outputs: Sequence[str], references: Sequence[str]) -> Array:
    counts = [_counts(output, reference) for output, reference in zip(outputs, references, strict=True)]
    return np.array([[right, said + due] for right, said, due in counts], dtype=np.float64)


def _f1(totals: Array) -> Array:
    right, both = totals[..., 0], totals[..., 1]
    return np.divide(2 * right, both, out=np.ones_like(right), where=both > 0)


field_f1 = Corpus(_field_columns, _f1)
"""Micro F1: hits over all rows' fields together, so that a row with many fields weighs more."""


def exact_match(output: str, reference: str, example: Example) -> float:
    """1 where the whole answer is right: as JSON where the reference is an object or a list, else as text."""
    if reference.lstrip().startswith(("{", "[")) and (due := fields(reference)) is not None:
        return float(fields(output) == due)
    return text.exact_match(output, reference, example)
