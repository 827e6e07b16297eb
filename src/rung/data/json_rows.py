"""Rows of JSON lines or a JSON list. NaN is a missing value; duplicate keys are an error."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from rung.data.rows import MAX_FAULTS, Row, Rows, combine, quoted
from rung.data.text import Part, lines
from rung.errors import DataError

ONE_A_LINE = "Each line must be one complete JSON object."


def jsonl_rows(path: Path, label: str, part: Part | None = None) -> Rows:
    """One row per non-blank line, of a `part` of the file if given. Errors are raised together, after all valid rows."""
    faults: list[DataError] = []
    for number, line in enumerate(lines(path, label, part), 1):
        if not line.strip():
            continue
        where = f"{label} line {number}"
        try:
            row = _mapping(parse(line, where, ONE_A_LINE), where)
        except DataError as fault:
            faults.append(fault)
            if len(faults) == MAX_FAULTS:
                break
            continue
        yield row, where
    if faults:
        raise combine(faults, label)


def json_rows(path: Path, label: str) -> Rows:
    """One row per object of a list, or per line if the file contains JSON lines. DataError for one object around all rows."""
    head = list(islice(filter(str.strip, lines(path, label)), 2))
    if head and head[0].lstrip().startswith("{"):
        if len(head) < 2 or not _is_whole(head[0]):
            _refuse_wrapped("".join(lines(path, label)), label)
        yield from jsonl_rows(path, label)
        return
    rows = parse("".join(lines(path, label)) or "[]", label, "The file must be one JSON list of objects.")
    for number, row in enumerate(rows if isinstance(rows, list) else [rows], 1):
        where = f"{label} item {number}"
        yield _mapping(row, where), where


def _is_whole(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


_OF_A_ROW = frozenset({"messages", "conversations", "input", "instruction", "prompt", "question", "output", "text", "label"})
"""Keys whose texts or turns show that an object is a row, whatever it holds besides."""


def _refuse_wrapped(text: str, label: str) -> None:
    """DataError where a file is one object, with rows under a key or with a data frame's columns. Anything else passes."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):  # reported with its line when the rows are read
        return
    if not isinstance(found, dict) or any(_is_said(found.get(key)) for key in _OF_A_ROW):
        return
    listed = [key for key, value in found.items() if _holds_rows(value)]
    parts = [value for value in found.values() if isinstance(value, dict | list) and not _is_of_objects(value)]
    split = len(parts) == len(found) > 1 and len({len(part) for part in parts}) == 1 and len(parts[0]) > 1
    if listed or split:
        rows = f"rows are under {', '.join(map(quoted, listed))}" if listed else "each key holds a column, or a row"
        raise DataError(
            f"the file is one object with the keys {quoted(list(found))}, not a list of rows: {rows}.",
            where=label,
            remedy='Write the list itself, [{"column": value, ...}, ...]; pandas does with to_json(orient="records").',
        )


def _holds_rows(value: Any) -> bool:
    """Whether a value is a list of several objects, other than the messages of a conversation."""
    return _is_of_objects(value) and len(value) > 1 and not any("role" in one or "from" in one for one in value)


def _is_said(value: Any) -> bool:
    """Whether a value is a text or the turns of a conversation."""
    return isinstance(value, str) or (_is_of_objects(value) and any("role" in one or "from" in one for one in value))


def _is_of_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, dict) for one in value)


def parse(text: str, where: str, remedy: str) -> Any:
    """Parse JSON. DataError for invalid JSON, duplicate keys, and numbers or nesting beyond Python's limits."""
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
    except json.JSONDecodeError as error:
        near = text[max(0, error.pos - 20) : error.pos + 20].strip()
        place = f"column {error.colno}" if error.lineno == 1 else f"line {error.lineno}, column {error.colno}"
        raise DataError(f"invalid JSON at {place}, near {near!r}: {error.msg}.", where=where, remedy=remedy) from None
    except _Twice as error:
        raise DataError(str(error), where=where, remedy="Keep one of them; only one could be read.") from None
    except (ValueError, RecursionError) as error:  # numbers with thousands of digits, deep nesting
        raise DataError(f"this JSON cannot be read: {str(error)[:100]}.", where=where, remedy=remedy) from None


def refuse_repeated_keys(text: str, where: str) -> None:
    """DataError for JSON with duplicate keys. Text that is not JSON passes."""
    try:
        json.loads(text, object_pairs_hook=_object)
    except _Twice as error:
        raise DataError(str(error), where=where, remedy="Keep one of them; only one could be read.") from None
    except (ValueError, RecursionError):
        return


class _Twice(Exception):
    """Duplicate key in an object."""


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        values = " and ".join(quoted(value, 30) for name, value in pairs if name == twice)
        raise _Twice(f"the key {twice!r} is repeated {names.count(twice)} times, with {values}.")
    return found


def _constant(name: str) -> float | None:
    """Non-JSON constants of data frame writers: NaN means missing."""
    return None if name == "NaN" else float(name)


def _mapping(row: Any, where: str) -> Row:
    if not isinstance(row, dict):
        raise DataError(f"{quoted(row)} is not an object.", where=where, remedy='Write rows as {"column": value, ...}.')
    return row
