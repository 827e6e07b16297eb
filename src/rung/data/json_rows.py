"""Rows of JSON: a line each, or one list. NaN is a missing value; a key that stands twice in an object is an error."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rung.data.rows import FAULTS_READ, Row, Rows, quoted, together
from rung.data.text import lines
from rung.errors import DataError

ONE_A_LINE = "Each line must be one whole JSON object."


def jsonl_rows(path: Path, label: str) -> Rows:
    """A row of each line that is not blank. Faulty lines are told together, behind the good ones."""
    faults: list[DataError] = []
    for number, line in enumerate(lines(path, label), 1):
        if not line.strip():
            continue
        where = f"{label} line {number}"
        try:
            row = _mapping(parse(line, where, ONE_A_LINE), where)
        except DataError as fault:
            faults.append(fault)
            if len(faults) == FAULTS_READ:
                break
            continue
        yield row, where
    if faults:
        raise together(faults, label)


def json_rows(path: Path, label: str) -> Rows:
    """A row of each object of one list; of each line where the file holds JSON lines under this name."""
    head = next((line for line in lines(path, label) if line.strip()), "").lstrip()
    if head.startswith("{"):
        yield from jsonl_rows(path, label)
        return
    rows = parse("".join(lines(path, label)) or "[]", label, "The file must be one JSON list of objects.")
    for number, row in enumerate(rows if isinstance(rows, list) else [rows], 1):
        where = f"{label} item {number}"
        yield _mapping(row, where), where


def parse(text: str, where: str, remedy: str) -> Any:
    """A value from its JSON. DataError for broken JSON, a key that stands twice, numbers and depths that cannot be read."""
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
    except json.JSONDecodeError as error:
        near = text[max(0, error.pos - 20) : error.pos + 20].strip()
        place = f"column {error.colno}" if error.lineno == 1 else f"line {error.lineno}, column {error.colno}"
        raise DataError(f"broken JSON at {place}, near {near!r}: {error.msg}.", where=where, remedy=remedy) from None
    except _Twice as error:
        raise DataError(str(error), where=where, remedy="Keep one of them; only one could be read.") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets within brackets
        raise DataError(f"this JSON cannot be read: {str(error)[:100]}.", where=where, remedy=remedy) from None


def refuse_repeated_keys(text: str, where: str) -> None:
    """DataError where `text` is JSON with a key that stands twice. Text that is no JSON passes."""
    try:
        json.loads(text, object_pairs_hook=_object)
    except _Twice as error:
        raise DataError(str(error), where=where, remedy="Keep one of them; only one could be read.") from None
    except (ValueError, RecursionError):
        return


class _Twice(Exception):
    """A key stands twice in one object."""


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        values = " and ".join(quoted(value, 30) for name, value in pairs if name == twice)
        raise _Twice(f"the key {twice!r} stands there {names.count(twice)} times, with {values}.")
    return found


def _constant(name: str) -> float | None:
    """What JSON does not know and writers of data frames write: NaN stands for a missing value."""
    return None if name == "NaN" else float(name)


def _mapping(row: Any, where: str) -> Row:
    if not isinstance(row, dict):
        raise DataError(f"{quoted(row)} is no object.", where=where, remedy='Write rows as {"column": value, ...}.')
    return row
