"""Score ranges over prompt variants, drawn on one axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rung.evaluate import prompt_spread
from rung.evaluate.prompt_spread import Spread
from rung.report import figures
from rung.types import Record


@dataclass(frozen=True, slots=True)
class DrawnSpreads:
    spreads: tuple[Spread, ...]
    bars: figures.Bars


def spreads(records: Sequence[Record], goal: float) -> DrawnSpreads | None:
    """The spreads noted by fits, on one axis; None if no fit tried several prompts."""
    found = prompt_spread.spreads(records)
    return DrawnSpreads(found, figures.bars([one.range for one in found], goal)) if found else None
