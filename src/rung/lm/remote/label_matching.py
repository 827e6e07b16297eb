"""Matches an answer's text to one of the labels: exactly, or by an unambiguous prefix; never by a guess."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from rung.lm.remote.replies import strip_code_fence
from rung.metrics import tokens

ANNOUNCING = "answer|label|class|category|classification|intent|result|output|choice|prediction|verdict"
"""Words that introduce the answer at the end of a text."""
EDGES = " \t\r\n\"'`*,:;!()[]{}<>"


def label_format(labels: Sequence[str]) -> dict[str, Any]:
    """The `response_format` that constrains the answer to one of the labels, as {"label": …}."""
    shape = {
        "type": "object",
        "properties": {"label": {"type": "string", "enum": list(labels)}},
        "required": ["label"],
        "additionalProperties": False,
    }
    return schema_format(shape)


def schema_format(shape: dict[str, Any]) -> dict[str, Any]:
    """The `response_format` that constrains an answer to a JSON schema, `strict` if the schema allows that.

    OpenAI refuses any other schema marked as strict, and the schema would then be dropped for good.
    """
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": _strict(shape), "schema": shape}}


def _strict(shape: dict[str, Any]) -> bool:
    """Whether every object in a schema requires all its fields and allows no others, and every array defines its items.

    https://platform.openai.com/docs/guides/structured-outputs
    """
    fields, items = shape.get("properties", {}), [shape["items"]] if "items" in shape else []
    if shape.get("type") == "object":
        strict = shape.get("additionalProperties") is False and set(shape.get("required", ())) == set(fields)
    else:
        strict = shape.get("type") != "array" or bool(items)
    return strict and all(map(_strict, [*fields.values(), *items, *shape.get("anyOf", ())]))


def match_label(text: str, labels: Sequence[str]) -> str | None:
    """The label that an answer names: exactly, or normalized, or the only label that starts with its text; else None."""
    answer = _unpacked(text, labels)
    if answer in labels:
        return answer
    plain = _normal(answer)
    names = [_normal(label) for label in labels]
    same = [label for label, name in zip(labels, names) if name == plain]
    if same or not plain:
        return same[0] if len(same) == 1 else None
    words = tokens.tokenize_with_articles(plain)
    named = [(label, name) for label, name in zip(labels, names) if _contains(name, plain, words)]
    if named:  # a label in a sentence counts if it is the only one, and comes first or is introduced as the answer
        label, name = named[0]
        return label if len(named) == 1 and (plain.startswith(name) or _introduced(plain, name)) else None
    begun = [label for label, name in zip(labels, names) if name.startswith(plain)]
    return begun[0] if len(begun) == 1 and not plain[-1].isdigit() else None  # 1 is not a prefix of 10


def _contains(name: str, plain: str, words: Sequence[str]) -> bool:
    """Whether a text contains a label as characters and as whole tokens: 1.7 does not contain 1, nor C++ C."""
    own = tokens.tokenize_with_articles(name)
    whole = any(tuple(words[at : at + len(own)]) == own for at in range(len(words)))
    return bool(own) and whole and re.search(rf"(?<!\w){re.escape(name)}(?!\w)", plain) is not None


def confidence(label: str, text: str, tokens: Sequence[tuple[str, float]]) -> float | None:
    """Probability of the label's own tokens, from the server's log-probabilities; None if it sends none."""
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
    """The label of {"label": …}, or of the only other field that names one, inside a code fence or not; else the text."""
    text = strip_code_fence(text)
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


def _introduced(plain: str, name: str) -> bool:
    """Whether the text ends by introducing this answer: "Sure! The label is **wifi**."."""
    return bool(
        re.search(rf"\b(?:{ANNOUNCING})\b\W*(?:(?:is|would be|should be|→|=)\W*)?(?:the )?\W*{re.escape(name)}\W*$", plain)
    )


_GAP = re.compile(r"[\s_-]+")


def _normal(text: str) -> str:
    """The text without case, quotes and full stops, with space, hyphen and underscore as the same.

    What distinguishes labels stays: the sign of a number, the dot of .NET, the plus signs of C++.
    """
    folded = unicodedata.normalize("NFKC", text).casefold().replace("−", "-")
    words = _GAP.sub(_blank, folded).strip(EDGES)
    bare = words.strip(EDGES + ".")
    return f".{bare}" if words.startswith(f".{bare[:1]}") and bare else bare


def _blank(gap: re.Match[str]) -> str:
    """A gap between words as one space, with a minus sign if that belongs to the following number."""
    text, at = gap.string, gap.end()
    before = text[gap.start() - 1 : gap.start()]
    sign = gap.group().endswith("-") and text[at : at + 1].isdigit() and (gap.group()[0].isspace() or not before.isalnum())
    return " -" if sign else " "
