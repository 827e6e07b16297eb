"""Rows of a table as lines with bars between the cells, each cell in its own column."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

BAR = " | "
MOST_ACROSS, MOST_DOWN = 200, 2000
LONGEST_REPEATED = 200
"""Characters of a cell over several rows that is said again in each: a row is read, and cut off, by itself."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell and over how many columns and rows it goes."""

    text: str
    across: int = 1
    down: int = 1


def lines(rows: Iterable[Sequence[Cell]], bar: str = BAR) -> list[str]:
    """A line a row; a cell over several columns stands in the first, one over several rows in each; blank rows are left out."""
    reaching: dict[int, tuple[str, int]] = {}
    found = []
    for row in rows:
        texts = list(_placed(row, reaching))
        if any(cell.text.strip() for cell in row):
            found.append(bar.join(texts[: max(i for i, text in enumerate(texts, 1) if text)]))
    return found


def _placed(row: Sequence[Cell], reaching: dict[int, tuple[str, int]]) -> Iterator[str]:
    """The row's texts by column; `reaching` holds, by column, what reaches down from above and for how many rows more."""
    column = 0
    for cell in row:
        while column in reaching:
            yield _reached(column, reaching)
            column += 1
        text = " ".join(cell.text.split())
        for i in range(max(1, min(cell.across, MOST_ACROSS))):
            here = "" if i else text
            if cell.down > 1:
                reaching[column] = (repeated(here), min(cell.down, MOST_DOWN) - 1)
            yield here
            column += 1
    while column in reaching:
        yield _reached(column, reaching)
        column += 1


def _reached(column: int, reaching: dict[int, tuple[str, int]]) -> str:
    text, left = reaching[column]
    if left > 1:
        reaching[column] = (text, left - 1)
    else:
        del reaching[column]
    return text


def repeated(text: str) -> str:
    """What a cell says again in the rows below its first."""
    return text if len(text) <= LONGEST_REPEATED else ""


def nested(rows: Sequence[str], bar: str = BAR) -> str:
    """A table within a cell, on one line: rows apart by semicolons, cells by commas."""
    return "; ".join(row.replace(bar, ", ") for row in rows)
