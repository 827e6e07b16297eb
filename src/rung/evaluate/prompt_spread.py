"""How far the score moves with the wording of a prompt and the order of its demonstrations, where a search tried several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rung.types import Interval, Record


@dataclass(frozen=True, slots=True)
class Spread:
    """Prompts that differ in one thing alone, all asked the same rows of train."""

    rung: str
    what: str
    """What differs: wording or order."""
    tried: int
    range: Interval
    """Mean, lowest and highest of the tried; no confidence interval."""


def spreads(records: Sequence[Record]) -> tuple[Spread, ...]:
    """The spreads that fits noted."""
    return tuple(
        Spread(record.rung, what, seen["tried"], Interval(seen["mean"], seen["min"], seen["max"], seen["n"]))
        for record in records
        for notes in record.provenance.get("notes", ())
        for what, seen in notes.get("spread", {}).items()
    )
