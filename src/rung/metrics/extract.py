"""Metrics for JSON answers: F1 over fields, and exact match."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rung.errors import DataError
from rung.metrics import numbers, resample, text, tokens
from rung.metrics.resample import Corpus
from rung.metrics.stats import Array
from rung.types import Example

_FENCE = re.compile(r"```(?:json)?\s*(.*?)```", re.DOTALL | re.IGNORECASE)

Fields = Counter[tuple[str, str, Any]]
"""(path, type, value) with its multiplicity."""


def fields(answer: str) -> Fields | None:
    """The non-empty fields of a JSON text, bare or in a ```json fence; None if it cannot be parsed.

    A list counts as a bag: `items[0].name` and `items[1].name` are both `items[].name`. Null, NaN, blank text, `[]` and
    `{}` mean that nothing was found and are not fields. Types differ (3 and "3", true and "true"); values are compared, not
    spellings: 3 and 3.0 are one number, "1,234.50 USD" and "$1234.5" one amount, "2024-01-05" and
    "5 January 2024" one day. Other text must match except for whitespace. A duplicate key counts twice.
    """
    try:
        found = _parsed(answer)
        return None if found is _UNREAD else Counter(_flat("", found))
    except RecursionError:  # nesting deeper than Python supports
        return None


_UNREAD = object()


@dataclass(frozen=True, slots=True)
class _Number:
    """A JSON number by its value, however many digits it has."""

    name: str


def _parsed(answer: str) -> Any:
    """Parsed JSON with objects as tuples of (key, value), so that duplicate keys are kept; `_UNREAD` if invalid."""
    fenced = _FENCE.search(answer)
    for candidate in (answer, fenced.group(1)) if fenced else (answer,):  # bare first: a string may contain a fence
        try:
            return json.loads(
                candidate,
                object_pairs_hook=tuple,
                parse_int=_number,
                parse_float=_number,
                parse_constant=lambda name: None if name == "NaN" else name,
            )
        except (ValueError, RecursionError):  # endless brackets are not JSON either
            continue
    return _UNREAD


def _number(written: str) -> _Number:
    digits, _, exponent = written.lower().lstrip("-").partition("e")
    whole, _, part = digits.partition(".")
    return _Number(numbers.value(whole, part, int(exponent or 0), written[0] == "-"))


def _flat(path: str, value: Any) -> Iterator[tuple[str, str, Any]]:
    if isinstance(value, tuple):
        for key, inner in value:
            yield from _flat(f"{path}.{_step(key)}", inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _flat(f"{path}[]", inner)
    elif (named := _leaf(path, value)) is not None:
        yield path, *named


def _step(key: str) -> str:
    """A key as part of a path: {"a.b": 1} is not {"a": {"b": 1}}."""
    return json.dumps(key) if re.search(r'[.\[\]"]', key) else key


def _leaf(path: str, value: Any) -> tuple[str, Any] | None:
    """Type and name of a value; None if it means that nothing was found."""
    if isinstance(value, bool):
        return "bool", value
    if isinstance(value, _Number):
        return "number", value.name
    if value is None or not value.strip():
        return None
    return "text", _text(value, bool(_CODES.search(path)))


_CODES = re.compile(
    r"(?:^|[._\-\s])(?:version|ver|release|section|clause|id|code|sku|isbn|iban|zip|zipcode|postcode|phone|serial)s?$",
    re.IGNORECASE,
)
"""Fields whose values are codes even if they look like numbers: version 2.10 is not 2.1."""


def _text(value: str, code: bool) -> str:
    """Text with normalised whitespace, or its value if it is just a number, an amount or a date."""
    plain = " ".join(unicodedata.normalize("NFC", value).split())
    if code or not any(character.isdigit() for character in plain):
        return plain
    found = tokens.tokenize(plain)
    return found[0] if len(found) == 1 and found[0].startswith(":") else plain


def _canonical(path: str, value: Any) -> tuple[str, Any] | None:
    """A value without empty parts, keys and items sorted; None if nothing is left."""
    if isinstance(value, tuple):
        inner = [(key, _canonical(f"{path}.{_step(key)}", one)) for key, one in value]
        kept = tuple(sorted((key, one) for key, one in inner if one))
        return ("{", kept) if kept else None
    if isinstance(value, list):
        items = tuple(sorted(one for one in (_canonical(f"{path}[]", item) for item in value) if one))
        return ("[", items) if items else None
    return _leaf(path, value)


def _counts(output: str, reference: str, where: str = "") -> tuple[int, int, int]:
    """Counts of right, answered and expected fields. An unparsable answer counts as one wrong field."""
    due = fields(reference)
    if due is None:
        raise DataError(
            f"the output {reference[:80]!r} is not valid JSON, which field_f1 needs.",
            where=where,
            remedy="Write the output as a JSON object, or choose another metric.",
        )
    said = fields(output)
    if said is None:
        return 0, 1, due.total()
    return (said & due).total(), said.total(), due.total()


def row_f1(output: str, reference: str, example: Example) -> float:
    """F1 of one row's fields; 1 if none is expected and none given."""
    right, said, due = _counts(output, reference, example.where)
    return 2 * right / (said + due) if said + due else 1.0


def _field_columns(outputs: Sequence[str], references: Sequence[str]) -> Array:
    counts = [_counts(output, reference) for output, reference in zip(outputs, references, strict=True)]
    return np.array([[right, said + due] for right, said, due in counts], dtype=np.float64)


field_f1 = Corpus(_field_columns, resample.f1)
"""Micro F1 over all rows' fields, so rows with many fields weigh more."""


def exact_match(output: str, reference: str, example: Example) -> float:
    """1 if the whole answer is right: compared as JSON if the reference is an object or list, else as text.

    Objects are equal if their nested fields are; the order of keys and list items is ignored.
    """
    if reference.lstrip().startswith(("{", "[")) and (due := _parsed(reference)) is not _UNREAD:
        said = _parsed(output)
        try:
            return float(isinstance(said, tuple | list) and _canonical("", said) == _canonical("", due))
        except RecursionError:  # nesting deeper than Python supports
            return 0.0
    return text.exact_match(output, reference, example)
