"""What held-out rows can show, before any rung is measured."""

from __future__ import annotations

from dataclasses import dataclass

from rung.claims import exact
from rung.claims.shares import ERROR, FIRST, SCREEN

POWER = 0.8


@dataclass(frozen=True, slots=True)
class Prospect:
    """For a goal on right/wrong rows: what a rung must reach on all held-out rows, at one share of the error."""

    rows: int
    needed: int
    """The fewest right answers that prove the goal; above `rows` if none do."""
    true_score: float | None
    """The true score of a rung that is proved with a chance of POWER; None if there is none below 1."""


def prospect(rows: int, goal: float, rungs: int) -> Prospect:
    """For a first climb, if so many rungs share the error: 1 if all others turn out to be far below the goal."""
    from scipy.optimize import brentq

    needed = exact.fewest(rows, goal, (1 - SCREEN) * FIRST * ERROR / rungs) if goal < 1 else rows + 1
    if needed > rows:
        return Prospect(rows, rows + 1, None)

    def spare(rate: float) -> float:
        return exact.tail(needed, rows, rate) - POWER

    return Prospect(rows, needed, float(brentq(spare, 1e-6, 1 - 1e-9, xtol=1e-5)))


@dataclass(frozen=True, slots=True)
class SelectiveProspect:
    """For a goal on the rows answered and on the share of them: both are shown at once."""

    coverage: Prospect
    """Rows to answer, of all held-out rows."""
    score: Prospect
    """Rows to get right, of the fewest that show the coverage."""

    @property
    def possible(self) -> bool:
        """Whether any rung can show both."""
        return self.coverage.needed <= self.coverage.rows and self.score.needed <= self.score.rows


def selective_prospect(rows: int, goal: float, coverage: float, rungs: int) -> SelectiveProspect:
    """As `prospect`; each of the two bounds has the rung's whole level."""
    share = prospect(rows, coverage, rungs)
    return SelectiveProspect(share, prospect(min(rows, share.needed), goal, rungs))


def fewest_rows(goal: float) -> int | None:
    """Held-out rows of which a perfect score proves the goal to one rung alone; None for a goal of 1."""
    import math

    return math.ceil(math.log((1 - SCREEN) * FIRST * ERROR) / math.log(goal)) if 0 < goal < 1 else None
