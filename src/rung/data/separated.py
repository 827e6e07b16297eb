"""Rows of separated text (csv, tsv): the separator is found by what keeps the rows even, or read from a line `sep=;`."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

from rung.data.rows import FAULTS_READ, Rows, header, header_again, together, visible
from rung.data.text import lines
from rung.errors import DataError

SEPARATORS = ",;\t|"
SAMPLE = 200
"""Lines that are looked at to find the separator."""
LONGEST_CELL = 2**30
"""Characters; Python's csv stops at 131,072, which a document in a cell may have."""
_STATED = re.compile(r'"?sep=(\\t|[^"\w\s]|\t)"?[,;|\s]*', re.IGNORECASE)
"""The first line that Excel writes and reads to name the separator."""


def csv_rows(path: Path, label: str) -> Rows:
    """The rows of a .csv file, whatever it is separated by."""
    found = lines(path, label)
    first = list(islice(found, SAMPLE))
    stated = _STATED.fullmatch(first[0].lstrip("\ufeff").rstrip("\r\n")) if first else None
    if stated:
        return _separated(chain(first[1:], found), label, stated[1].replace("\\t", "\t"), before=1)
    return _separated(chain(first, found), label, _separator(first))


def tsv_rows(path: Path, label: str) -> Rows:
    """The rows of a .tsv file: separated by tabs, unless the header has none."""
    head = next((line for line in lines(path, label) if line.strip()), "")
    return _separated(lines(path, label), label, "\t") if "\t" in head else csv_rows(path, label)


def _separator(sample: Sequence[str]) -> str:
    """The separator under which most rows have as many cells as the header; of equals the one that parts it most."""
    return max(SEPARATORS, key=lambda mark: _fit(sample, mark))


def _fit(sample: Sequence[str], mark: str) -> tuple[float, bool, int]:
    rows = [cells for cells in _parsed(sample, mark) if cells]
    if not rows or len(rows[0]) < 2:
        return 0.0, False, 0
    first, *rest = rows
    rest = rest[:-1] if len(sample) == SAMPLE and len(rest) > 1 else rest  # the last may go on behind the sample
    even = sum(len(cells) == len(first) for cells in rest) / len(rest) if rest else 1.0
    # a comma in a sentence has a blank behind it, one between columns seldom
    return even, not any(cell.startswith(" ") for cell in first), len(first)


def _parsed(sample: Sequence[str], mark: str) -> Iterator[list[str]]:
    csv.field_size_limit(LONGEST_CELL)
    try:
        yield from csv.reader(sample, delimiter=mark)
    except csv.Error:  # told with its line when the file is read
        return


def _separated(found: Iterable[str], label: str, delimiter: str, before: int = 0) -> Rows:
    """`before`: lines of the file that stand in front of `found`. Faulty rows are told together, behind the good ones."""
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
                if len(faults) == FAULTS_READ:
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
        raise together(faults, label)


def _fault(cells: Sequence[str], names: Sequence[str], where: str, delimiter: str) -> DataError | None:
    if _is_header(cells, names):
        return header_again(where)
    if len(cells) != len(names):
        return DataError(
            f"the row has {len(cells)} cells and the header {len(names)} (separator {delimiter!r}).",
            where=where,
            remedy="Put cells that hold the separator, a quote or a line break in double quotes.",
        )
    return None


def _is_header(cells: Sequence[str], names: Sequence[str]) -> bool:
    """The same columns, perhaps in another order."""
    first = visible(cells[0]).casefold()
    if len(names) < 2 or len(cells) != len(names) or all(first != name.casefold() for name in names):
        return False
    return sorted(visible(cell).casefold() for cell in cells) == sorted(name.casefold() for name in names)
