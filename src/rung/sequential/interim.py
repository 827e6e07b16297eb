"""Interim analyses: confidence bounds and tests at stages that are scheduled in advance, within one error budget."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rung.metrics import interval, resample, stats
from rung.metrics.stats import Array, by_cluster
from rung.types import Interval

SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
"""Share of the rows at each stage."""
MIN_ROWS = 16
"""Rows of the first stage: with fewer, its share of the error shows almost nothing."""
BETS = np.geomspace(0.02, 0.95, 12)
"""Fractions of the capital that are bet. The capital is their mean, so no bet is chosen from the data."""

Standing = Literal["meets", "fails", "hopeless", "open"]


@dataclass(frozen=True, slots=True)
class InterimAnalysis:
    """One stage of the schedule. Errors are one-sided probabilities."""

    rows: int
    of: int
    """Rows of the last stage: all of them."""
    error: float
    """Error spent at this stage alone."""
    early: float
    """Error spent by all stages before the last, together."""
    final: float
    """Error spent at the last stage."""
    largest: int = 1
    """Size of the largest cluster."""

    @property
    def last(self) -> bool:
        return self.rows == self.of


@dataclass(frozen=True, slots=True)
class AnalysisSchedule:
    """Rows scored at each stage, and the share of the error that each stage spends. Fixed before any row is scored."""

    sizes: tuple[int, ...]
    """Cumulative rows, rising; the last is all of them."""
    spend: tuple[float, ...]
    """One per stage; they sum to 1."""
    largest: int = 1
    """Size of the largest cluster; 1 without clusters."""

    def at(self, alpha: float) -> list[InterimAnalysis]:
        """The stages, with a one-sided error of `alpha` divided among them."""
        final = alpha * self.spend[-1]
        return [
            InterimAnalysis(rows, self.sizes[-1], alpha * share, alpha - final, final, self.largest)
            for rows, share in zip(self.sizes, self.spend, strict=True)
        ]


def schedule_analyses(rows: int, clusters: Sequence[Hashable] | None = None) -> AnalysisSchedule:
    """Stages after 1/16, 1/8, 1/4, 1/2 and all of the rows, each extended to the end of a cluster.

    After a share t of the rows, t² of the error is spent: the power family of Kim and DeMets (1987), Biometrika 74:149.
    Three quarters remain for the last stage, whose bounds are 4 to 8% wider than without racing. O'Brien and Fleming's
    spending leaves more for the end and almost nothing for the start: after 50 of 400 rows a score would have to miss
    a goal of 0.8 by 0.43, here by 0.21 (at an error of 0.007). Pocock's spends most of the error early, which weakens
    the last stage.
    """
    assert rows, "no rows to score"
    sizes = sorted({_cluster_end(round(rows * share), clusters) for share in SHARES if rows * share >= MIN_ROWS} | {rows})
    spent = [(size / rows) ** 2 for size in sizes]
    largest = max(Counter(clusters).values()) if clusters is not None else 1
    return AnalysisSchedule(tuple(sizes), tuple(now - before for now, before in zip(spent, [0.0, *spent])), largest)


# --- one candidate against a goal -------------------------------------------------------------------------------------


def bounds(
    values: Sequence[float], look: InterimAnalysis, clusters: Sequence[Hashable] | None = None, binary: bool = False
) -> Interval:
    """The mean of values in [0, 1] between two bounds, each wrong with probability at most the stage's error.

    They hold under any stopping rule: the probability that a bound is wrong at any stage is at most the total error.
    The last stage uses the bounds of a measurement without racing. Earlier stages use the exact bounds of Clopper and
    Pearson (1934), Biometrika 26, for right/wrong rows (`binary`: a property of the metric, not of the values seen), and
    otherwise betting bounds, which assume no distribution and hold at every n: Waudby-Smith and Ramdas (2024), JRSS B 86.
    """
    if look.last:
        return interval(values, clusters=clusters, confidence=1 - 2 * look.error)
    n, total = len(values), float(sum(values))
    if binary and clusters is None:
        from scipy.special import betaincinv

        low = float(betaincinv(total, n - total + 1, look.error)) if total else 0.0
        high = float(betaincinv(total + 1, n - total, 1 - look.error)) if total < n else 1.0
    else:
        units = by_cluster(np.stack([np.asarray(values, dtype=np.float64), np.ones(n)], axis=1), clusters)
        flipped = np.stack([units[:, 1] - units[:, 0], units[:, 1]], axis=1)
        low, high = _lower(units, look), 1 - _lower(flipped, look)
    return Interval(total / n, min(low, total / n), max(high, total / n), n)


def so_far(
    values: Sequence[float], goal: float, look: InterimAnalysis, clusters: Sequence[Hashable] | None = None, binary: bool = False
) -> Standing:
    """What the rows up to this stage show about the mean and the goal: meets, fails, hopeless, or still open.

    Hopeless: even all rows would hardly show that the goal is met. Rows come in random order, so those seen are a sample
    without replacement, and the exact hypergeometric tail bounds how often a candidate that meets the goal on all rows
    looks this bad at any stage. It claims nothing about the true mean, so giving up causes no false "meets". Only for
    right/wrong rows without clusters.
    """
    found = bounds(values, look, clusters, binary)
    if found.low >= goal:
        return "meets"
    if found.high < goal:
        return "fails"
    hopeless = binary and clusters is None and not look.last and _hopeless(round(sum(values)), goal, look)
    return "hopeless" if hopeless else "open"


def _hopeless(right: int, goal: float, look: InterimAnalysis) -> bool:
    from scipy.stats import hypergeom

    n = look.of
    needed = bisect_left(range(n), goal, key=lambda k: stats.wilson_lower(k / n, n, look.final))  # n itself if none is enough
    return float(hypergeom.cdf(right, n, needed, look.rows)) <= look.error


def _lower(units: Array, look: InterimAnalysis) -> float:
    """The smallest mean that betting does not reject. `units`: sum of values and number of rows of each cluster."""
    from scipy.optimize import brentq

    def excess(mean: float) -> float:
        return _log_capital(units[:, 0] - mean * units[:, 1], mean * look.largest) + float(np.log(look.early))

    if excess(1e-9) <= 0:
        return 0.0
    return 1.0 if excess(1.0) > 0 else max(0.0, float(brentq(excess, 1e-9, 1.0, xtol=1e-6)) - 1e-6)


def _log_capital(gains: Array, worst: float) -> float:
    """Log of the capital grown from 1 by betting on each gain; no gain is below -`worst`.

    If the gains have a mean of at most 0 the capital is a supermartingale, so with probability 1 - error it never
    exceeds 1/error at any stage (Ville 1939).
    """
    grown = np.log1p(np.outer(gains / worst, BETS)).sum(axis=0)
    top = grown.max()
    return float(top + np.log(np.exp(grown - top).mean()))


# --- candidates against each other ------------------------------------------------------------------------------------


def drop(
    candidate: Sequence[float],
    leader: Sequence[float],
    look: InterimAnalysis,
    clusters: Sequence[Hashable] | None = None,
    binary: bool = False,
) -> bool:
    """Whether a candidate is significantly worse than the leader on the same rows, values in [0, 1].

    The last stage uses one side of the decision's tests (mid-p McNemar, sign flips). Earlier stages use the exact
    binomial test on the rows that only one got right, or betting on the differences.
    """
    a, b = np.asarray(candidate, dtype=np.float64), np.asarray(leader, dtype=np.float64)
    only_a, only_b = int((a > b).sum()), int((b > a).sum())
    if a.sum() >= b.sum():
        return False
    plain = binary and clusters is None
    if look.last:
        p_value = stats.mcnemar_mid_p(only_a, only_b) if plain else resample.sign_flip(a, b, clusters)
        return p_value <= 2 * look.error
    if plain:
        from scipy.special import bdtr

        return float(bdtr(only_a, only_a + only_b, 0.5)) <= look.error
    gains = by_cluster((b - a)[:, None], clusters)[:, 0]
    return _log_capital(gains, look.largest) >= -np.log(look.early)


def _cluster_end(size: int, clusters: Sequence[Hashable] | None) -> int:
    while clusters is not None and size < len(clusters) and clusters[size] == clusters[size - 1]:
        size += 1
    return size
