"""Tables of knowledge, csv and jsonl: one block a row, a line for each column that says something."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from itertools import islice
from typing import Any

from rung.data.separated import SAMPLE, separator
from rung.errors import DataError
from rung.retrieve.formats.blocks import Blocks


def read_csv(text: str) -> Blocks:
    """The first row names the columns; the separator is found as in the files of a task's rows."""
    blocks = Blocks()
    file = io.StringIO(text, newline="")
    delimiter, before = separator(list(islice(file, SAMPLE)))
    file.seek(0)
    reader = csv.reader(islice(file, before, None), delimiter=delimiter, strict=True)
    header: list[str] = []
    line = 1 + before
    try:
        for cells in reader:
            first, line = line, reader.line_num + before + 1
            if not header:
                header = cells
            elif cells and len(cells) != len(header):
                raise DataError(
                    f"line {first} has {len(cells)} cells and the header {len(header)} (separator {delimiter!r}).",
                    remedy="Put cells that hold the separator, a quote or a line break in double quotes.",
                )
            else:
                add_row(blocks, zip(header, cells), first, line - 1)
    except csv.Error as error:
        raise DataError(
            f"the row in line {line} cannot be read: {error}.",
            remedy='Look for a double quote that is not closed or not doubled ("").',
        ) from None
    return blocks


def read_jsonl(text: str) -> Blocks:
    """One JSON object a line."""
    blocks = Blocks()
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(f"line {number} is broken JSON at column {error.colno}: {error.msg}.") from None
            if not isinstance(row, dict):
                raise DataError(f"line {number} is no object.", remedy='Write rows as {"column": value, ...}.')
            add_row(blocks, row.items(), number, number)
    return blocks


def add_row(blocks: Blocks, row: Iterable[tuple[str, Any]], first: int = 0, last: int = 0) -> None:
    """One block: a line for each column that says something."""
    cells = ((name.strip(), _told(value)) for name, value in row)
    lines = [f"{name}: {value}" if name else value for name, value in cells if value]
    blocks.add("\n".join(lines), first, last, kind="table")


def _told(value: Any) -> str:
    if value is None:
        return ""
    return (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)).strip()
