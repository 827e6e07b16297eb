"""Findings of the data check."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from rung.types import Example

Severity = Literal["block", "warn", "note"]
SEVERITIES: tuple[Severity, ...] = ("block", "warn", "note")
"""Most severe first."""
Rows = Sequence[Example]
Parts = Mapping[str, Rows]
"""The rows by split: train, dev, test."""

COMMON_SHARE = 0.05
"""Share of affected rows that can shift a score by as much as rungs differ."""
MAX_PLACES = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding about the rows. `block`: fix it first; `warn`: read it; `note`: for information."""

    code: str
    severity: Severity
    what: str
    remedy: str = ""
    where: tuple[str, ...] = ()
    """The first few locations."""
    count: int = 0
    """Number of affected rows or labels."""

    @property
    def places(self) -> str:
        """The locations in a line, a file that they share named once; ends in … where there are more."""
        return "; ".join(_shared(self.where) or self.where) + (" …" if self.count > len(self.where) > 0 else "")


def pair(row: Example, other: Example) -> str:
    return f"{row.where} = {other.where}"


def first_places(places: Iterable[str]) -> tuple[str, ...]:
    return tuple(islice(places, MAX_PLACES))


_LINE = re.compile(r"(.+) line (\d+)")


def _shared(places: Sequence[str]) -> list[str]:
    """`a line 1 = a line 2`, `a line 3` as one text, `a lines 1 = 2, 3`; empty where they are of several files."""
    parts = [[_LINE.fullmatch(part) for part in place.split(" = ")] for place in places]
    files = {found[1] if found else "" for part in parts for found in part}
    lines = [" = ".join(found[2] for found in part if found) for part in parts]
    if len(files) != 1 or "" in files or (" = " not in "".join(lines) and len(lines) == 1):
        return []
    return [f"{files.pop()} lines {', '.join(lines)}"]
