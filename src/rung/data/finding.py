"""Findings of the data check."""

from __future__ import annotations

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


def pair(row: Example, other: Example) -> str:
    return f"{row.where} = {other.where}"


def first_places(places: Iterable[str]) -> tuple[str, ...]:
    return tuple(islice(places, MAX_PLACES))
