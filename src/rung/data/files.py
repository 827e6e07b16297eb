"""Data files as a stream of raw rows with locations; the extension chooses the reader and is checked against the content."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rung.data.columnar import arrow_rows, parquet_rows
from rung.data.content import WORKBOOKS, check_kind
from rung.data.json_rows import json_rows, jsonl_rows
from rung.data.rows import Row, Rows, quoted, repeated_header, repeats_header
from rung.data.separated import csv_rows, tsv_rows
from rung.data.text import lines
from rung.data.workbook import workbook_rows
from rung.errors import DataError

__all__ = ["READERS", "Row", "Rows", "lines", "quoted", "read_rows"]

READERS: dict[str, Callable[[Path, str], Rows]] = {
    ".parquet": parquet_rows,
    ".arrow": arrow_rows,
    ".jsonl": jsonl_rows,
    ".ndjson": jsonl_rows,
    ".csv": csv_rows,
    ".tsv": tsv_rows,
    ".json": json_rows,
    **dict.fromkeys(sorted(WORKBOOKS), workbook_rows),
}


def read_rows(path: Path, label: str) -> Rows:
    """The rows of one file as (columns, location). `label` names the file in locations and messages.

    `book.xlsx#Sheet` names a sheet of a workbook. DataError with the line for a missing file, a wrong encoding or file kind, a
    duplicate column, a ragged or broken row, or a header among the rows. Errors of rows are raised together, after all valid
    rows.
    """
    path, sheet = _sheet_of(path)
    if not path.exists():
        raise _no_such_file(path, label)
    ending = path.suffix.lower()
    reader = READERS.get(ending)
    if reader is None:
        raise DataError(
            f"files ending in {path.suffix or 'nothing'!r} cannot be read.",
            where=label,
            remedy=f"Give one of {', '.join(READERS)}, or a folder of them.",
        )
    check_kind(path, label, ending)
    if sheet:
        return workbook_rows(path, label, sheet)
    return without_headers(reader(path, label))


def without_headers(rows: Rows) -> Rows:
    """The rows. DataError for a header among them."""
    for row, where in rows:
        if repeats_header(row):
            raise repeated_header(where)
        yield row, where


def _sheet_of(path: Path) -> tuple[Path, str]:
    """A path and the sheet after its last #, unless the # belongs to the file name."""
    name, mark, sheet = path.name.rpartition("#")
    if not mark or path.exists() or Path(name).suffix.lower() not in WORKBOOKS:
        return path, ""
    return path.with_name(name), sheet


def _no_such_file(path: Path, label: str) -> DataError:
    from rapidfuzz import fuzz, process

    there = sorted(p.name for p in path.parent.iterdir()) if path.parent.is_dir() else []
    near = process.extractOne(path.name, there, scorer=fuzz.ratio, score_cutoff=60)
    hint = f"Did you mean '{near[0]}'? " if near else ""
    return DataError("the file does not exist.", where=label, remedy=f"{hint}Paths are relative to rung.yaml.")
