"""An answer's text to one of the labels: what it says exactly or begins without doubt; nothing is guessed."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

EDGES = " \t\r\n\"'`*.,:;!()[]{}<>"


def schema(labels: Sequence[str]) -> dict[str, Any]:
    """The `response_format` that lets a server write nothing but one of the labels, as {"label": …}."""
    shape = {
        "type": "object",
        "properties": {"label": {"type": "string", "enum": list(labels)}},
        "required": ["label"],
        "additionalProperties": False,
    }
    return held_to(shape)


def held_to(shape: dict[str, Any]) -> dict[str, Any]:
    """The `response_format` that holds an answer to a JSON schema: strictly where the schema may be held to so.

    OpenAI refuses another schema that is called strict, and it would then be left out for good.
    """
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": _strict(shape), "schema": shape}}


def _strict(shape: dict[str, Any]) -> bool:
    """Whether every object in a schema requires all its fields and allows no other, and every array says what is in it.

    https://platform.openai.com/docs/guides/structured-outputs
    """
    fields, items = shape.get("properties", {}), [shape["items"]] if "items" in shape else []
    if shape.get("type") == "object":
        held = shape.get("additionalProperties") is False and set(shape.get("required", ())) == set(fields)
    else:
        held = shape.get("type") != "array" or bool(items)
    return held and all(map(_strict, [*fields.values(), *items, *shape.get("anyOf", ())]))


def read(text: str, labels: Sequence[str]) -> str | None:
    """The label that an answer names: as it stands, or normalised, or the only one that its text can begin; else None."""
    said = _unpacked(text)
    if said in labels:
        return said
    plain = _normal(said)
    names = [_normal(label) for label in labels]
    same = [label for label, name in zip(labels, names) if name == plain]
    if same or not plain:
        return same[0] if len(same) == 1 else None
    named = [label for label, name in zip(labels, names) if name and re.search(rf"(?<!\w){re.escape(name)}(?!\w)", plain)]
    if named:  # a label in a sentence: it stands first, and no other is named
        return named[0] if len(named) == 1 and plain.startswith(_normal(named[0])) else None
    begun = [label for label, name in zip(labels, names) if name.startswith(plain)]
    return begun[0] if len(begun) == 1 else None


def confidence(label: str, text: str, tokens: Sequence[tuple[str, float]]) -> float | None:
    """Probability of the label's own tokens as the server tells it; None where it tells none."""
    at, end, total = text.rfind(label), 0, 0.0
    if at < 0 or not tokens:
        return None
    whole = "".join(token for token, _ in tokens)
    at += len(whole) - len(whole.lstrip())
    for token, log in tokens:
        begin, end = end, end + len(token)
        if begin < at + len(label) and end > at:
            total += log
    return min(1.0, math.exp(total)) if end >= at + len(label) else None


def _unpacked(text: str) -> str:
    """The label of {"label": …}, should the answer be that; else the text."""
    try:
        found = json.loads(text)
    except ValueError:
        return text.strip()
    if isinstance(found, dict) and isinstance(found.get("label"), str):
        return found["label"]
    return found if isinstance(found, str) else text.strip()


def _normal(text: str) -> str:
    """Case, quotes, full stops and the difference of blank, hyphen and underscore taken away."""
    words = re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFKC", text).casefold())
    return words.strip(EDGES)
