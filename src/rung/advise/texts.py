"""What texts and files tell without a model: dates of documents, and rows that contradict their near neighbours."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from rung.data.near import index, near_within, tokens
from rung.data.split import question
from rung.types import Example

_DATE = re.compile(r"(?<!\d)((?:19|20)\d\d)[-_.]?(0[1-9]|1[0-2])(?:[-_.]?(0[1-9]|[12]\d|3[01]))?(?!\d)")
NEAR = 0.8
MOST_ROWS = 1000
MOST_NEIGHBOURS = 20


def span(files: Sequence[str]) -> int:
    """Days between the oldest and the newest date in the files' names; where none has one, between their last changes.

    0 where fewer than two are dated. A copy of a folder may have lost the dates of its files: the answer is a hint.
    """
    named = sorted(found for file in files if (found := dated(Path(file).name)))
    days = named or sorted(date.fromtimestamp(Path(file).stat().st_mtime) for file in files)
    return (days[-1] - days[0]).days if len(days) > 1 else 0


def dated(name: str) -> date | None:
    """The date in a file's name, such as notes-2026-03-01.md or 202603.txt; a month without a day is its first."""
    found = _DATE.search(name)
    if not found:
        return None
    year, month, day = found.groups()
    try:
        return date(int(year), int(month), int(day or 1))
    except ValueError:  # the 31st of a shorter month is no date
        return None


def conflicts(rows: Sequence[Example]) -> tuple[int, int]:
    """Rows that nearly equal one with another answer, and rows read (the first thousand)."""
    rows = rows[:MOST_ROWS]
    found_in = index((tokens(question(row)) for row in rows), NEAR)
    differing = sum(
        any(rows[j].output != row.output for j in found) for row, found in zip(rows, near_within(found_in, MOST_NEIGHBOURS))
    )
    return differing, len(rows)
