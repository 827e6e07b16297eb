"""Rows of csv and tsv files: the separator that gives even rows is detected, or read from a line `sep=;`."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

from rung.data.rows import MAX_FAULTS, Rows, clean_cell, combine, header, repeated_header
from rung.data.text import lines
from rung.errors import DataError

SEPARATORS = ",;\t|"
SAMPLE = 200
"""Lines used to detect the separator."""
LONGEST_CELL = 2**30
"""Maximum characters; Python's default of 131,072 is too small for documents in cells."""
_STATED = re.compile(r'"?sep=(\\t|[^"\w\s]|\t)"?[,;|\s]*', re.IGNORECASE)
"""Excel's first line that names the separator."""


def csv_rows(path: Path, label: str) -> Rows:
    """The rows of a .csv file with any separator."""
    found = lines(path, label)
    first = list(islice(found, SAMPLE))
    mark, before = separator(first)
    return _separated(chain(first[before:], found), label, mark, before)


def separator(first: Sequence[str]) -> tuple[str, int]:
    """The separator of a table by its first lines, and how many of them only name it."""
    stated = _STATED.fullmatch(first[0].lstrip("\ufeff").rstrip("\r\n")) if first else None
    return (stated[1].replace("\\t", "\t"), 1) if stated else (_likeliest(first), 0)


def tsv_rows(path: Path, label: str) -> Rows:
    """The rows of a .tsv file, separated by tabs unless the header has none."""
    head = next((line for line in lines(path, label) if line.strip()), "")
    return _separated(lines(path, label), label, "\t") if "\t" in head else csv_rows(path, label)


def _likeliest(sample: Sequence[str]) -> str:
    """The separator for which most rows have as many cells as the header; of ties, the one with most cells."""
    return max(SEPARATORS, key=lambda mark: _fit(sample, mark))


def _fit(sample: Sequence[str], mark: str) -> tuple[float, bool, int]:
    rows = [cells for cells in _parsed(sample, mark) if cells]
    if not rows or len(rows[0]) < 2:
        return 0.0, False, 0
    first, *rest = rows
    rest = rest[:-1] if len(sample) == SAMPLE and len(rest) > 1 else rest  # the last row may be cut off
    even = sum(len(cells) == len(first) for cells in rest) / len(rest) if rest else 1.0
    # a comma in a sentence is followed by a space, one between columns rarely
    return even, not any(cell.startswith(" ") for cell in first), len(first)


def _parsed(sample: Sequence[str], mark: str) -> Iterator[list[str]]:
    csv.field_size_limit(LONGEST_CELL)
    try:
        yield from csv.reader(sample, delimiter=mark)
    except csv.Error:  # reported with its line when the file is read
        return


def _separated(found: Iterable[str], label: str, delimiter: str, before: int = 0) -> Rows:
    """Rows of the lines `found`; `before` lines precede them. Errors are raised together, after all valid rows."""
    csv.field_size_limit(LONGEST_CELL)
    reader = csv.reader(found, delimiter=delimiter, strict=True)
    names: list[str] = []
    faults: list[DataError] = []
    start = before + 1
    try:
        for cells in reader:
            where, start = f"{label} line {start}", before + reader.line_num + 1
            if not cells:
                continue
            if not names:
                names = header(cells, where)
            elif fault := _fault(cells, names, where, delimiter):
                faults.append(fault)
                if len(faults) == MAX_FAULTS:
                    break
            else:
                yield dict(zip(names, cells)), where
    except csv.Error as error:
        faults.append(
            DataError(
                f"the row that starts here cannot be read: {error}.",
                where=f"{label} line {start}",
                remedy='Look for a double quote that is not closed, or not doubled ("") inside a quoted cell.',
            )
        )
    if faults:
        raise combine(faults, label)


def _fault(cells: Sequence[str], names: Sequence[str], where: str, delimiter: str) -> DataError | None:
    if _is_header(cells, names):
        return repeated_header(where)
    if len(cells) != len(names):
        return DataError(
            f"the row has {len(cells)} cells but the header {len(names)} (separator {delimiter!r}).",
            where=where,
            remedy="Put cells with the separator, a quote or a line break in double quotes.",
        )
    return None


def _is_header(cells: Sequence[str], names: Sequence[str]) -> bool:
    """The same columns, perhaps in another order."""
    first = clean_cell(cells[0]).casefold()
    if len(names) < 2 or len(cells) != len(names) or all(first != name.casefold() for name in names):
        return False
    return sorted(clean_cell(cell).casefold() for cell in cells) == sorted(name.casefold() for name in names)
