"""Signals in texts and files: dates of documents, and rows that contradict their near-duplicates."""

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
MAX_ROWS = 1000
MAX_NEIGHBOURS = 20


def days_spanned(files: Sequence[str]) -> int:
    """Days between the oldest and newest date in file names, or of the last changes if no name has a date.

    0 if fewer than two files are dated. Copying a folder may change dates, so this is a hint.
    """
    named = sorted(found for file in files if (found := date_in_name(Path(file).name)))
    days = named or sorted(date.fromtimestamp(Path(file).stat().st_mtime) for file in files)
    return (days[-1] - days[0]).days if len(days) > 1 else 0


def date_in_name(name: str) -> date | None:
    """The date in a file name such as notes-2026-03-01.md or 202603.txt; without a day, the first of the month."""
    found = _DATE.search(name)
    if not found:
        return None
    year, month, day = found.groups()
    try:
        return date(int(year), int(month), int(day or 1))
    except ValueError:  # e.g. 31 February
        return None


def conflicts(rows: Sequence[Example]) -> tuple[int, int]:
    """Rows with a near-duplicate that has another answer, and rows examined (the first thousand)."""
    rows = rows[:MAX_ROWS]
    found_in = index((tokens(question(row)) for row in rows), NEAR)
    differing = sum(
        any(rows[j].output != row.output for j in found) for row, found in zip(rows, near_within(found_in, MAX_NEIGHBOURS))
    )
    return differing, len(rows)
