"""An answer's text to one of the labels: what it says exactly or begins without doubt; nothing is guessed."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from rung.lm.remote.shapes import unfenced
from rung.metrics import tokens

ANNOUNCING = "answer|label|class|category|classification|intent|result|output|choice|prediction|verdict"
"""Words by which an answer is announced at the end of a text."""
EDGES = " \t\r\n\"'`*,:;!()[]{}<>"


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
    said = _unpacked(text, labels)
    if said in labels:
        return said
    plain = _normal(said)
    names = [_normal(label) for label in labels]
    same = [label for label, name in zip(labels, names) if name == plain]
    if same or not plain:
        return same[0] if len(same) == 1 else None
    words = tokens.tokenize_with_articles(plain)
    named = [(label, name) for label, name in zip(labels, names) if _stands(name, plain, words)]
    if named:  # a label in a sentence: no other is named, and it stands first or is announced
        label, name = named[0]
        return label if len(named) == 1 and (plain.startswith(name) or _announced(plain, name)) else None
    begun = [label for label, name in zip(labels, names) if name.startswith(plain)]
    return begun[0] if len(begun) == 1 and not plain[-1].isdigit() else None  # 1 is not the beginning of 10


def _stands(name: str, plain: str, words: Sequence[str]) -> bool:
    """Whether a label stands in a text, letter by letter and token by token: 1 does not stand in 1.7, nor C in C++."""
    own = tokens.tokenize_with_articles(name)
    whole = any(tuple(words[at : at + len(own)]) == own for at in range(len(words)))
    return bool(own) and whole and re.search(rf"(?<!\w){re.escape(name)}(?!\w)", plain) is not None


def confidence(label: str, text: str, tokens: Sequence[tuple[str, float]]) -> float | None:
    """Probability of the label's own tokens as the server tells it; None where it tells none."""
    at, end, total = text.rfind(label), 0, 0.0
    whole = "".join(token for token, _ in tokens)
    at = whole.rfind(label) if at >= 0 else at
    if at < 0:
        return None
    for token, log in tokens:
        begin, end = end, end + len(token)
        if begin < at + len(label) and end > at:
            total += log
    return min(1.0, math.exp(total)) if end >= at + len(label) else None


def _unpacked(text: str, labels: Sequence[str]) -> str:
    """The label of {"label": …}, or of the one other field that names one, in a fence or not; else the text."""
    text = unfenced(text)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text.strip()
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    if isinstance(found, dict):
        values = [found["label"]] if isinstance(found.get("label"), str) else [v for v in found.values() if isinstance(v, str)]
        names = {_normal(label) for label in labels}
        known = [value for value in values if _normal(value) in names]
        values = known if len(known) == 1 else values
        return values[0] if len(values) == 1 else text.strip()
    if isinstance(found, str):
        return found
    return text.strip()


def _announced(plain: str, name: str) -> bool:
    """Whether the text ends by saying that this is its answer: "Sure! The label is **wifi**."."""
    return bool(
        re.search(rf"\b(?:{ANNOUNCING})\b\W*(?:(?:is|would be|should be|→|=)\W*)?(?:the )?\W*{re.escape(name)}\W*$", plain)
    )


_GAP = re.compile(r"[\s_-]+")


def _normal(text: str) -> str:
    """Case, quotes, full stops and the difference of blank, hyphen and underscore taken away.

    What tells labels apart stays: the sign of a number, the point of .NET, the signs of C++.
    """
    folded = unicodedata.normalize("NFKC", text).casefold().replace("−", "-")
    words = _GAP.sub(_blank, folded).strip(EDGES)
    bare = words.strip(EDGES + ".")
    return f".{bare}" if words.startswith(f".{bare[:1]}") and bare else bare


def _blank(gap: re.Match[str]) -> str:
    """A gap between words as one blank, with a minus where one belongs to the number behind it."""
    text, at = gap.string, gap.end()
    before = text[gap.start() - 1 : gap.start()]
    sign = gap.group().endswith("-") and text[at : at + 1].isdigit() and (gap.group()[0].isspace() or not before.isalnum())
    return " -" if sign else " "
