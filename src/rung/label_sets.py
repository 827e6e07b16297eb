"""Several labels of one row, as the text that an answer is: a JSON list such as `["delay", "refund"]`; `[]` for none of them."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Collection, Sequence
from typing import Any

SEPARATORS = re.compile(r"[|;,\n]")
"""What separates labels in a plain text."""
_BRACKETS = {("[", "]"), ("(", ")"), ("{", "}")}
_QUOTED = re.compile(r"""('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")(\s+(?=['"]))?""")
"""A text in quotes, and the space to a text behind it, which is how NumPy parts the texts of an array."""


def dump(labels: Collection[str], order: Sequence[str] = ()) -> str:
    """The text of a set of labels, each once: in `order` as far as it names them, the others by alphabet."""
    place = {label: at for at, label in enumerate(order)}
    return json.dumps(sorted(set(labels), key=lambda label: (place.get(label, len(place)), label)), ensure_ascii=False)


def parse(text: str) -> tuple[str, ...] | None:
    """The labels of a list, in JSON or as Python writes it; None for any other text. What answers are compared by.

    Numbers and booleans are labels as JSON spells them; lists, objects and null are not labels.
    """
    text = text.strip()
    if not (text.startswith("[") and text.endswith("]")):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = _evaluated(text)
    return _labels(found) if isinstance(found, list) else None


def loaded(text: str) -> tuple[str, ...] | None:
    """The labels of a cell of a data file: what `parse` reads, and tuples, sets and arrays as Python and NumPy write them.

    For data alone: an answer `(1, 2)` is a point or an interval, in which the order counts.
    """
    text = text.strip()
    if (text[:1], text[-1:]) not in _BRACKETS:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = _literal(text)
    return _labels(found) if isinstance(found, list | tuple) else None


def _labels(found: Collection[Any]) -> tuple[str, ...] | None:
    if any(not isinstance(one, str | bool | int | float) for one in found):
        return None
    return tuple(one.strip() if isinstance(one, str) else json.dumps(one) for one in found)


def _evaluated(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _literal(text: str) -> Any:
    """A list, tuple or set as Python writes it, or an array as NumPy does: `['a' 'b']`, in which Python would join the texts."""
    found = _evaluated(_QUOTED.sub(lambda one: one[1] + ", " * bool(one[2]), text))
    if isinstance(found, str):  # ('a') is a text in brackets
        return (found,) if text[0] == "(" else None
    return sorted(found, key=str) if isinstance(found, set) else found


def split(text: str, labels: Collection[str] = ()) -> tuple[str, ...]:
    """The labels of a list, or of a text that separates them by `|`, `;`, `,` or a line break.

    `labels`: those known; a text that is one of them is not separated.
    """
    found = loaded(text)
    return _separated(text, labels) if found is None else found


def _separated(text: str, labels: Collection[str]) -> tuple[str, ...]:
    if text.strip() in labels:
        return (text.strip(),)
    return tuple(part for one in SEPARATORS.split(text) if (part := one.strip()))


def named(text: str, labels: Sequence[str]) -> str:
    """An answer of a model with the labels that it names alone, in their order; the text itself where it names none.

    A list, a text with separators, and an object with one list are read; labels are compared without regard to case.
    """
    bare = text.strip().removeprefix("```json").strip("`").strip()
    if bare.startswith("{"):
        try:
            lists = [value for value in json.loads(bare).values() if isinstance(value, list)]
        except (ValueError, RecursionError):
            lists = []
        bare = json.dumps(lists[0], ensure_ascii=False) if len(lists) == 1 else bare
    spelled = {label.casefold(): label for label in labels}
    listed = parse(bare)
    said = _separated(bare, labels) if listed is None else listed
    found = [spelled[one] for one in (part.strip(" \"'.-*").casefold() for part in said) if one in spelled]
    return dump(found, labels) if found or listed is not None else text


def schema(labels: Sequence[str], least: int, most: int) -> str:
    """The JSON schema, as text, of a list of `least` to `most` of the labels."""
    items = {"type": "string", "enum": list(labels)}
    return json.dumps({"type": "array", "items": items, "minItems": least, "maxItems": most}, ensure_ascii=False)
