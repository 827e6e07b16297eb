"""A goal on two numbers at once: the score of the rows that are answered, and the share of rows that are.

A rung is said to meet it if both lower bounds reach, each at the rung's whole level. A rung that falls short of either passes
only if that one bound errs, so the two need not share the level (the intersection-union test of Berger 1982, Technometrics
24:295). The rows answered are a random number; given that number they are independent rows of one rate, so the bound of the
score holds at the level for every number, and hence on average over it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from rung.claims import exact
from rung.claims.evidence import Outlook, Rows, outlook, standard_error
from rung.claims.shares import ERROR, Candidate, Counted, Measured
from rung.metrics.stats import Array


@dataclass(frozen=True, slots=True)
class AtLeast:
    """Right/wrong rows of which at least so many are answered; how many more is open."""

    rows: int
    upper: float

    def steps(self, goal: float) -> Array:
        return np.empty(0)

    def wrong(self, levels: Array, goal: float) -> Array:
        """Of the randomised test with the fewest rows, which has exactly the level.

        Below the goal it passes least of all tests of its level (Neyman and Pearson), and more rows only allow better ones. So
        it bounds the probability for every larger number of rows, and for the test that is not randomised.
        """
        if self.rows < 1:
            return levels
        size, found = exact.tails(self.rows, goal), exact.tails(self.rows, min(self.upper, goal))
        return np.interp(levels, size[::-1], found[::-1])


class Bounded(Candidate, Protocol):
    """A candidate with the upper bound of its screening."""

    @property
    def upper(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Both:
    """A rung that must reach the goal on the rows it answers, and answer a share of all rows."""

    score: Bounded
    coverage: Bounded
    due: float
    """The share to answer."""

    def steps(self, goal: float) -> Array:
        return np.empty(0)

    def wrong(self, levels: Array, goal: float) -> Array:
        """Passing takes both tests, so each that is ruled out by its upper bound limits the probability."""
        tests = ((self.score, goal), (self.coverage, self.due))
        short = [one.wrong(levels, due) for one, due in tests if one.upper < due]
        return np.min([levels, *short], axis=0)


def candidate(answered: Rows, rows: Rows, uppers: tuple[float, float], sealed: int, due: float) -> Both:
    """A rung as `rung.claims.shares.levels` counts it.

    `answered`: the dev rows that it answered; `rows`: all dev rows, 1 for those answered; `uppers`: of score and share;
    `sealed`: rows still unseen.
    """
    total = len(rows) + sealed
    share: Bounded = Counted(total, uppers[1])
    if not rows.counted:
        share = Measured(uppers[1], standard_error(rows) * np.sqrt(len(rows) / total))
    fewest = min(exact.fewest(total, due, ERROR), total) if rows.counted else int(due * total)
    if answered.counted:
        return Both(AtLeast(fewest, uppers[0]), share, due)
    error = standard_error(answered) * np.sqrt(len(answered) / max(1, fewest)) if len(answered) else 1.0
    return Both(Measured(uppers[0], float(error)), share, due)


@dataclass(frozen=True, slots=True)
class BothAhead:
    """What the rows seen so far say about further rows, for score and share together."""

    score: Outlook
    coverage: Outlook
    due: float

    def chance(self, more: int, goal: float, level: float) -> float:
        """The chance that both bounds reach, as if the two were independent."""
        return self.score.chance(self._answered(more), goal, level) * self.coverage.chance(more, self.due, level)

    def decides(self, more: int, goal: float, level: float, error: float) -> float:
        """The chance that so many further rows show both, or that one of the two falls short."""
        score = self.score.mirrored.chance(self._answered(more), 1 - goal, error / 2)
        share = self.coverage.mirrored.chance(more, 1 - self.due, error / 2)
        return min(1.0, self.chance(more, goal, level) + 1 - (1 - score) * (1 - share))

    def _answered(self, more: int) -> int:
        return round(more * self.coverage.value)


def ahead(answered: Rows, rows: Rows, due: float) -> BothAhead:
    """What dev rows, and of them those answered, say about further rows."""
    none = Outlook(0.0, 1.0, 1, 0)
    return BothAhead(outlook(answered) if len(answered) else none, outlook(rows), due)
