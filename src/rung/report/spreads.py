"""The spreads of prompts, drawn on one axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rung.evaluate import prompt_spread
from rung.evaluate.prompt_spread import Spread
from rung.report import figures
from rung.types import Record


@dataclass(frozen=True, slots=True)
class Drawn:
    spreads: tuple[Spread, ...]
    bars: figures.Bars


def spreads(records: Sequence[Record], goal: float) -> Drawn | None:
    """The spreads that fits noted, on one axis; None where no fit tried several prompts."""
    found = prompt_spread.spreads(records)
    return Drawn(found, figures.bars([one.range for one in found], goal)) if found else None
