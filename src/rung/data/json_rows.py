"""Rows of JSON lines or a JSON list. NaN is a missing value; duplicate keys are an error."""

from __future__ import annotations

import json
from collections.abc import Sequence
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
    """One row per object of a list, or per line if the file contains JSON lines."""
    head = next((line for line in lines(path, label) if line.strip()), "").lstrip()
    if head.startswith("{"):
        yield from jsonl_rows(path, label)
        return
    rows = parse("".join(lines(path, label)) or "[]", label, "The file must be one JSON list of objects.")
    for number, row in enumerate(rows if isinstance(rows, list) else [rows], 1):
        where = f"{label} item {number}"
        yield _mapping(row, where), where


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
