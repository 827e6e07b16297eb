"""How the rungs of a climb share its error: those that dev shows to be far below the goal leave theirs to the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from rung.claims import exact
from rung.metrics.stats import Array

ERROR = 0.05
"""The probability that rung allows itself for a wrong claim, over all rungs and climbs on the same rows."""
FIRST = 0.8
"""Share of the error left that a climb spends. The rest is for later climbs on the same rows."""
SCREEN = 0.04
"""Share of the error that the upper bounds of the screening may use, all rungs together."""
GRID = 2000


class Candidate(Protocol):
    """A rung that may be claimed to meet the goal, by a lower bound over all its held-out rows."""

    def steps(self, goal: float) -> Array:
        """The error levels at which its test changes; empty if it changes everywhere."""
        ...

    def wrong(self, levels: Array, goal: float) -> Array:
        """At each level, a bound of the probability that the test at this level calls it good though it falls short."""
        ...


@dataclass(frozen=True, slots=True)
class Counted:
    """Right/wrong rows that are independent: everything is exact."""

    rows: int
    """All held-out rows: those seen and those still sealed."""
    upper: float
    """Upper bound of its rate by the dev rows."""

    def steps(self, goal: float) -> Array:
        return exact.tails(self.rows, goal)[1:]

    def wrong(self, levels: Array, goal: float) -> Array:
        falling = exact.tails(self.rows, goal)
        needed = len(falling) - np.searchsorted(falling[::-1], levels * (1 + 1e-12), side="right")
        return exact.tails_at(needed, self.rows, min(self.upper, goal))


@dataclass(frozen=True, slots=True)
class Measured:
    """Any other score, by its standard error over all held-out rows; the normal approximation."""

    upper: float
    error: float
    """Standard error of the score over all held-out rows."""

    def steps(self, goal: float) -> Array:
        return np.empty(0)

    def wrong(self, levels: Array, goal: float) -> Array:
        from scipy.special import ndtr, ndtri

        short = max(0.0, goal - self.upper) / max(self.error, 1e-9)
        return np.asarray(ndtr(ndtri(levels) - short))


@dataclass(frozen=True, slots=True)
class Untried:
    """A rung that may still be measured: nothing is known about it."""

    def steps(self, goal: float) -> Array:
        return np.empty(0)

    def wrong(self, levels: Array, goal: float) -> Array:
        return levels


def levels(candidates: Sequence[Candidate], goal: float, error: float) -> tuple[float, ...]:
    """The error level of each rung's own test, so that a wrong claim of any has probability at most `error` in all.

    Taking the first of several rungs that pass is taking the best of several tries, so the errors add up. A rung at the goal
    passes a test at level l with probability l; a rung below an upper bound u of its score passes with less. Each rung is
    counted with the probability at its upper bound. All the bounds together err with probability at most SCREEN times
    `error`, which is subtracted: Berger and Boos (1994), JASA 89:1012; Romano, Shaikh and Wolf (2014), Econometrica 82:1979.
    The bounds must come from dev rows only, at error SCREEN * error / (number of rungs).

    The level is one for all rungs. Right/wrong rows leave a rest of the error: it raises the level of the first rungs in the
    given order, which must be fixed before any row is scored. A rung measured later can only raise the levels, so a climb
    may stop anywhere.
    """
    spendable = (1 - SCREEN) * error
    grid = _grid([one.steps(goal) for one in candidates], spendable)
    each = np.array([one.wrong(grid, goal) for one in candidates])
    fits = np.flatnonzero(each.sum(axis=0) <= spendable)
    if not len(fits):
        return (0.0,) * len(candidates)
    at = int(fits[-1])
    found, left = [float(grid[at])] * len(candidates), spendable - float(each[:, at].sum())
    for i, one in enumerate(candidates):
        higher = one.steps(goal)
        higher = higher[higher > grid[at] * (1 + 1e-9)]
        if len(higher):
            more = float(one.wrong(higher.min(keepdims=True), goal)[0] - each[i, at])
            if more > left:
                break
            found[i], left = float(higher.min()), left - more
    return tuple(level * (1 + 1e-9) for level in found)  # so that rounding does not undo a bound that reaches the goal


def _grid(steps: Sequence[Array], most: float) -> Array:
    """Levels to choose from, rising."""
    known = np.concatenate([np.asarray(one) for one in steps]) if steps else np.empty(0)
    if not all(len(one) for one in steps):
        known = np.concatenate([known, np.geomspace(1e-9, most, GRID)])
    known = np.unique(known[(known > 1e-12) & (known <= most)])
    return known if len(known) else np.array([1e-12])
