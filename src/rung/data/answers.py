"""Cells with several right answers, or none: lists, SQuAD's and TriviaQA's dicts, also as text in a CSV cell."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rung import label_sets
from rung.data.files import quoted
from rung.data.formats import text_of
from rung.errors import DataError
from rung.task import Task
from rung.types import Example

Answers = tuple[str, ...]
"""All right answers, the first for training; empty if the question is unanswerable."""

IMPOSSIBLE = "is_impossible"
"""SQuAD's column for unanswerable questions."""
_SPAN = {"text", "answer_start", "answer_end", "answer_id", "start", "end"}
_PLURAL = re.compile(r"(?:answers|outputs|references|targets|solutions|aliases|responses)$", re.IGNORECASE)
_SPEAKS_OF_LISTS = re.compile(r"\b(?:json|lists?|arrays?)\b", re.IGNORECASE)


def answers(row: Mapping[str, Any], column: str, task: Task, where: str) -> Answers | None:
    """The right answers of a row; None if its cell is one text, or JSON that is itself the answer.

    A list in a text cell is read as several answers if the column name says so (`answers`, `references`) or the task does not
    ask for a list or JSON. DataError for an empty answer among several, several labels, or a contradicting `is_impossible`.
    """
    value = row.get(column)
    if task.multilabel:
        return _label_set(value, where)
    if task.kind == "classify":
        return _one_label(value, task, where)
    if task.kind == "extract":
        return _json_texts(_loaded(value))
    known = _several(value, where)
    if known is None and isinstance(value, str):
        found = _loaded(value, where)
        listed = isinstance(found, list) and (_PLURAL.search(column) or not _SPEAKS_OF_LISTS.search(task.task))
        texts = isinstance(found, list) and all(isinstance(one, str) for one in found)
        known = _several(found, where) if isinstance(found, dict) or (listed and texts) else None
    return _possible(known, row, value, where)


def with_alternatives(found: Example, row: Mapping[str, Any], columns: Sequence[str]) -> Example:
    """The row with the further right answers in other columns, whose empty cells are left out. DataError for a missing column."""
    for column in columns:
        if column not in row:
            raise DataError(
                f"there is no column {column!r} (data.alternatives).",
                where=found.where,
                remedy=f"The columns are {', '.join(map(repr, row))}.",
            )
    more = [text for column in columns if (text := text_of(row[column], found.where).strip())]
    if more and found.unanswerable:
        raise DataError(
            f"the question is unanswerable, but data.alternatives has {quoted(more[0])}.",
            where=found.where,
            remedy="Fill the output, or empty the other cells.",
        )
    several = tuple(dict.fromkeys((*found.accepted, *more)))
    return replace(found, references=several) if more and len(several) > 1 else found


def is_text_list(text: str) -> bool:
    """Whether a text is a JSON list of texts."""
    found = _loaded(text) if text.lstrip()[:1] == "[" else None
    return isinstance(found, list) and bool(found) and all(isinstance(one, str) for one in found)


def _several(value: Any, where: str) -> Answers | None:
    if isinstance(value, dict):
        if "text" in value and set(value) <= _SPAN:
            return _several(value["text"] if isinstance(value["text"], list) else [value["text"]], where)
        if isinstance(value.get("aliases"), list) and "value" in value:
            return _several([value["value"], *value["aliases"]], where)
        return None
    if not isinstance(value, list):
        return None
    if value and all(isinstance(one, dict) and "text" in one and set(one) <= _SPAN for one in value):
        return _several([one["text"] for one in value], where)
    if any(isinstance(one, dict | list) for one in value):
        return None
    return () if value in ([""], [None]) else _texts(value, where)


def _texts(values: Sequence[Any], where: str) -> Answers:
    """Distinct answers in order."""
    texts = ["" if one is None else json.dumps(one) if isinstance(one, bool) else str(one) for one in values]
    if any(not text.strip() for text in texts):
        raise DataError(
            f"one of the answers {quoted(values)} is empty.",
            where=where,
            remedy="Fill or delete it. An empty list means that the question is unanswerable.",
        )
    return tuple(dict.fromkeys(texts))


_QUOTED = re.compile(r"""\s*[\[{]\s*["']""")
"""How a list or an object of texts begins."""


def _one_label(value: Any, task: Task, where: str) -> Answers | None:
    """The label in a list of one, also where it is written as text; None for a plain text. DataError for several, and an object.

    Numbers in brackets, such as an age band [18, 25], are a text.
    """
    if isinstance(value, str):
        if not _QUOTED.match(value) or value.strip() in (task.labels or ()):
            return None
        found = label_sets.loaded(value)
        value = _loaded(value) if found is None else list(found)
    if isinstance(value, dict):
        value = _choices(value, where)
    if not isinstance(value, list):
        return None
    if len(value) == 1 and not isinstance(value[0], dict | list):
        return _texts(value, where)
    raise DataError(
        f"the output {quoted(value)} is a list of {len(value)}, but kind classify needs one label per row.",
        where=where,
        remedy="Write one label; if several may apply at once, set multilabel: true in rung.yaml.",
    )


def _choices(value: dict[str, Any], where: str) -> list[Any]:
    """The list in Label Studio's `{"choices": ["a", "b"]}`. DataError for any other object: its JSON would be the label."""
    if value.keys() == {"choices"} and isinstance(value["choices"], list):
        return value["choices"]
    raise DataError(
        f"the output {quoted(value)} is an object, but kind classify needs a label.",
        where=where,
        remedy="Write the label itself in a column of its own, and name it as data.output.",
    )


def _label_set(value: Any, where: str) -> Answers | None:
    """The labels of a row in a list as one text; None if the cell is a text, which `rung.data.load` reads."""
    found = _loaded(value)
    value = _choices(found, where) if isinstance(found, dict) else value
    if not isinstance(value, list):
        return None
    found = label_sets.parse(json.dumps(value, ensure_ascii=False))
    if found is None or not all(found):
        raise DataError(
            f"the output {quoted(value)} is not a list of labels.",
            where=where,
            remedy='Write texts, such as ["delay", "refund"]; [] for a row without a label.',
        )
    return (label_sets.dump(found),)


def _json_texts(value: Any) -> Answers | None:
    """Several JSON objects as texts; a list of objects is one answer."""
    if not isinstance(value, list) or not value or not all(isinstance(one, str) and one.lstrip()[:1] == "{" for one in value):
        return None
    return tuple(dict.fromkeys(value))


def _loaded(value: Any, where: str = "") -> Any:
    """The list or dict in a text cell, as JSON or Python literal; other values unchanged."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("[", "{"):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        if "answer_start" not in value:
            return value
    try:
        return ast.literal_eval(value.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise DataError(
            f"the answers {quoted(value)} look like SQuAD's, but cannot be parsed.",
            where=where,
            remedy="Write the file with json.dumps of each cell, or as JSON lines or parquet.",
        ) from None


def _possible(known: Answers | None, row: Mapping[str, Any], value: Any, where: str) -> Answers | None:
    """The answers, or none if `is_impossible` is set."""
    said = row.get(IMPOSSIBLE)
    if said is None or str(said).strip().casefold() not in ("true", "1", "yes", "false", "0", "no"):
        return known
    impossible = str(said).strip().casefold() in ("true", "1", "yes")
    given = bool(known) if known is not None else bool(value is not None and str(value).strip())
    if impossible == given:
        there = "there is an answer" if given else "there is no answer"
        raise DataError(
            f"{IMPOSSIBLE} is {said!r}, but {there}: {quoted(value)}.",
            where=where,
            remedy=f"Fix one of them; a plausible but wrong answer belongs in a separate column. {_RULE}",
        )
    return () if impossible else known


_RULE = "An unanswerable question has is_impossible true and no answer."
