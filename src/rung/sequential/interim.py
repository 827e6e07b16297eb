"""Looks at rows set beforehand: what each may say of a mean, or of two, so that the whole errs no more than stated."""

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
"""Of the rows, where it is looked."""
LEAST = 16
"""Rows of the first look: before that hardly anything can be shown at the error that it may spend."""
BETS = np.geomspace(0.02, 0.95, 12)
"""Shares of the capital staked. The capital is the mean over all of them, so no bet has to be chosen by the data."""

Standing = Literal["meets", "fails", "hopeless", "open"]


@dataclass(frozen=True, slots=True)
class InterimAnalysis:
    """What may be said after some of the rows. Errors are one-sided probabilities."""

    rows: int
    of: int
    """Rows of the last look: all there are."""
    error: float
    """What this look spends alone."""
    early: float
    """What all looks before the last spend together."""
    final: float
    """What the last look spends."""
    largest: int = 1
    """Rows of the largest cluster of all."""

    @property
    def last(self) -> bool:
        return self.rows == self.of


@dataclass(frozen=True, slots=True)
class AnalysisSchedule:
    """After how many rows it is looked, and the share of the error that each look spends. Set before any row is asked."""

    sizes: tuple[int, ...]
    """Rows in all, rising; the last is all of them."""
    spend: tuple[float, ...]
    """Same order; they sum to 1."""
    largest: int = 1
    """Rows of the largest cluster; 1 where rows have none."""

    def at(self, alpha: float) -> list[InterimAnalysis]:
        """The looks when an error of `alpha`, one-sided, is divided among them."""
        final = alpha * self.spend[-1]
        return [
            InterimAnalysis(rows, self.sizes[-1], alpha * share, alpha - final, final, self.largest)
            for rows, share in zip(self.sizes, self.spend, strict=True)
        ]


def schedule_analyses(rows: int, clusters: Sequence[Hashable] | None = None) -> AnalysisSchedule:
    """Looks after a sixteenth, an eighth, a quarter, half and all of the rows, moved on to where a cluster ends.

    By the share t of the rows, t² of the error is spent: the power family of Kim and DeMets (1987), Biometrika 74:149.
    Three quarters are left for the last look, whose bounds are 4 to 8 % wider than without racing. O'Brien and
    Fleming's spending leaves more there, but next to nothing for the start: after 50 of 400 rows a score would
    have to fall 0.43 short of a goal of 0.8, and here 0.21 (at an error of 0.007). Pocock's spends most of it early and
    loses what the last look could have shown.
    """
    assert rows, "no rows to look at"
    sizes = sorted({_cluster_end(round(rows * share), clusters) for share in SHARES if rows * share >= LEAST} | {rows})
    spent = [(size / rows) ** 2 for size in sizes]
    largest = max(Counter(clusters).values()) if clusters is not None else 1
    return AnalysisSchedule(tuple(sizes), tuple(now - before for now, before in zip(spent, [0.0, *spent])), largest)


# --- one candidate against a goal -------------------------------------------------------------------------------------


def bounds(
    values: Sequence[float], look: InterimAnalysis, clusters: Sequence[Hashable] | None = None, binary: bool = False
) -> Interval:
    """The mean of values in [0, 1] between two bounds, each wrong with probability at most the look's error.

    They hold however one stops: at no look of the race is a bound wrong with a probability above the whole error. The
    last look takes the bounds of a measurement without racing. Before it, right/wrong rows (`binary`: known
    beforehand, not read off the values) have the exact bounds of Clopper and Pearson (1934), Biometrika 26; all else
    has those of a test by betting, which assume no shape and hold at every n: Waudby-Smith and Ramdas (2024), JRSS B 86.
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
    """What the rows up to this look show of the mean against the goal: meets, fails, hopeless, or still open.

    Hopeless: all the rows together would hardly show that it meets the goal. They come in random order, so what was
    seen is a draw without replacement from all of them, and the exact hypergeometric tail says how often one that would
    meet the goal on all the rows looks as bad as this: at no look with a probability above the error. Nothing is claimed
    of the true mean, so giving up costs no false "meets". Told for right/wrong rows without clusters.
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
    """The least mean that bets against it do not refute. `units`: sum of values and number of rows of each cluster."""
    from scipy.optimize import brentq

    def spare(mean: float) -> float:
        return _log_capital(units[:, 0] - mean * units[:, 1], mean * look.largest) + float(np.log(look.early))

    if spare(1e-9) <= 0:
        return 0.0
    return 1.0 if spare(1.0) > 0 else max(0.0, float(brentq(spare, 1e-9, 1.0, xtol=1e-6)) - 1e-6)


def _log_capital(gains: Array, worst: float) -> float:
    """Log of what a stake of 1 has become by betting on each gain; none is below -`worst`.

    Where the gains have a mean of 0 or less the capital is a supermartingale, so with probability 1 - error it is
    never, at no look, over 1/error (Ville 1939).
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
    """Whether a candidate is shown to be worse than the leader on the same rows, values in [0, 1].

    At the last look by the tests of a decision (mid-p McNemar, sign flips), of which one side is taken. Before it, by
    the exact binomial test of the rows that only one got right, or by betting on the differences.
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
