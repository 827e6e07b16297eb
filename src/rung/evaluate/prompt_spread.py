"""Range of the score over prompt wordings and demonstration orders that a search tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rung.types import Interval, Record


@dataclass(frozen=True, slots=True)
class Spread:
    """Prompts that differ in one aspect only, scored on the same train rows."""

    rung: str
    what: str
    """The aspect: wording or order."""
    tried: int
    range: Interval
    """Mean, minimum and maximum over the prompts; not a confidence interval."""


def spreads(records: Sequence[Record]) -> tuple[Spread, ...]:
    """The spreads noted by fits."""
    return tuple(
        Spread(record.rung, what, seen["tried"], Interval(seen["mean"], seen["min"], seen["max"], seen["n"]))
        for record in records
        for notes in record.provenance.notes or ()
        for what, seen in notes.get("spread", {}).items()
    )
