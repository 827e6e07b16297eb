"""What a check found, as a frozen value, and how places are told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from rung.types import Example

Severity = Literal["block", "warn", "note"]
SEVERITIES: tuple[Severity, ...] = ("block", "warn", "note")
"""Gravest first."""
Rows = Sequence[Example]
Parts = Mapping[str, Rows]
"""The rows by split: train, dev, test."""

COMMON = 0.05
"""Share of rows from which a fault can move a score by as much as rungs differ."""
PLACES_TOLD = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to know about the rows. `block`: mend it before spending; `warn`: read it; `note`: good to know."""

    code: str
    severity: Severity
    what: str
    remedy: str = ""
    where: tuple[str, ...] = ()
    """The first few places."""
    count: int = 0
    """Rows (or labels) concerned."""


def pair(row: Example, other: Example) -> str:
    return f"{row.where} = {other.where}"


def some(places: Iterable[str]) -> tuple[str, ...]:
    return tuple(islice(places, PLACES_TOLD))
