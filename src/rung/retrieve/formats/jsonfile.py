"""JSON files: a list of objects is a table, anything else its values under their keys."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from rung.errors import DataError
from rung.retrieve.formats.blocks import Blocks
from rung.retrieve.formats.rows import add_row


def read_json(text: str) -> Blocks:
    """A block an object of a list; a section for each key with more than one value. Numbers stay as written."""
    try:
        found = json.loads(text, parse_float=str, parse_int=str)
    except json.JSONDecodeError as error:
        raise DataError(f"it is broken JSON in line {error.lineno}, column {error.colno}: {error.msg}.") from None
    blocks = Blocks()
    _add(blocks, found)
    return blocks


def _add(blocks: Blocks, value: Any) -> None:
    if isinstance(value, list):
        for item in value:
            add_row(blocks, _flat(item))
        return
    plain = {key: item for key, item in value.items() if not _holds_more(item)} if isinstance(value, dict) else value
    add_row(blocks, _flat(plain))
    for key, item in value.items() if isinstance(value, dict) else ():
        if _holds_more(item):
            before = blocks.levels
            blocks.heading(1, key)
            if isinstance(item, list):
                _add(blocks, item)
            else:
                add_row(blocks, _flat(item))
            blocks.leave(before)


def _holds_more(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(item, dict | list) for item in value))


def _flat(value: Any) -> Iterator[tuple[str, Any]]:
    """Values with the way to them, such as "address.city"; an explicit stack, since files may be nested deep."""
    todo: list[tuple[str, Any]] = [("", value)]
    while todo:
        name, item = todo.pop()
        if isinstance(item, dict):
            todo += reversed([(f"{name}.{key}" if name else key, inner) for key, inner in item.items()])
        elif isinstance(item, list) and any(isinstance(inner, dict | list) for inner in item):
            todo += reversed([(name, inner) for inner in item])
        elif isinstance(item, list):
            yield name, ", ".join(_word(inner) for inner in item)
        else:
            yield name, _word(item)


def _word(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)
