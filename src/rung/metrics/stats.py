"""Intervals, paired tests and sample sizes for scores on small sets of held-out rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rung.types import Interval

Array = npt.NDArray[np.float64]
Statistic = Callable[[Array], Array]
"""From column sums, shape (..., columns), to one number each, shape (...). Every score here is such a function, so a
resample is one product of a weight matrix with the rows."""

MOST_ROWS = 1_000_000
"""What `rows_needed` says when no practical number of rows would settle the question."""

_CHUNK = 2_000_000  # resampling weights held at a time: 16 MB


@dataclass(frozen=True, slots=True)
class Corpus:
    """A score of a whole set of answers that is no mean over rows, in the form that can be resampled fast."""

    columns: Callable[[Sequence[str], Sequence[str]], Array]
    """Outputs and references to counts, one row each."""
    statistic: Statistic

    def __call__(self, outputs: Sequence[str], references: Sequence[str]) -> float:
        return float(self.statistic(self.columns(outputs, references).sum(axis=0)))


# --- right or wrong ---------------------------------------------------------------------------------------------------


def wilson(successes: float, n: float, confidence: float = 0.95) -> Interval:
    """Score interval of a proportion. Wilson (1927), JASA 22. `n` may be an effective, fractional number of rows."""
    if n <= 0:
        return Interval(0.0, 0.0, 1.0, 0)
    p, alpha = successes / n, (1 - confidence) / 2
    return Interval(p, wilson_lower(p, n, alpha), 1 - wilson_lower(1 - p, n, alpha), round(n))


def wilson_lower(p: float, n: float, alpha: float) -> float:
    """One-sided lower bound of a proportion seen as `p` in `n` rows, wrong with probability about `alpha`."""
    from scipy.special import ndtri

    z2 = float(ndtri(1 - alpha)) ** 2
    centre = p + z2 / (2 * n)
    half = math.sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n * n)))
    return max(0.0, (centre - half) / (1 + z2 / n))


def effective_rows(values: Sequence[float], clusters: Sequence[Hashable]) -> float:
    """How many independent rows clustered right/wrong rows are worth: n over the design effect, never above n.

    Rao and Scott (1992), Biometrics 48. Where all rows agree nothing is known of the likeness within clusters, and each
    cluster counts as one row.
    """
    x = np.asarray(values, dtype=np.float64)
    p, n = x.mean(), len(x)
    sums = _by_cluster(np.stack([x - p], axis=1), clusters)[:, 0]
    units = len(sums)
    if p in (0.0, 1.0) or units < 2:
        return float(units)
    effect = units / (units - 1) * float(sums @ sums) / (n * p * (1 - p))
    return float(n / max(1.0, effect))


def mcnemar_mid_p(only_a: int, only_b: int) -> float:
    """Two-sided mid-p McNemar test of two methods on the same rows, from the rows that only one of them got right.

    Fagerland, Lydersen and Laake (2013), BMC Med Res Methodol 13:91: keeps its level where the exact test is too
    careful.
    """
    from scipy.stats import binom

    least, rows = min(only_a, only_b), only_a + only_b
    return float(2 * binom.cdf(least, rows, 0.5) - binom.pmf(least, rows, 0.5))


def mcnemar_exact(only_a: int, only_b: int) -> float:
    """Two-sided exact (binomial) McNemar test."""
    from scipy.stats import binom

    return float(min(1.0, 2 * binom.cdf(min(only_a, only_b), only_a + only_b, 0.5)))


def paired_difference(only_a: int, only_b: int, n: int, confidence: float = 0.95) -> Interval:
    """Score b less score a for right/wrong on the same `n` rows, with Tango's score interval.

    Tango (1998), Statistics in Medicine 17:891. Good for small n, and of non-zero width where the two always agree.
    """
    if n == 0:
        return Interval(0.0, -1.0, 1.0, 0)
    high = _tango_upper(only_b, only_a, n, confidence)
    low = -_tango_upper(only_a, only_b, n, confidence)
    return Interval((only_b - only_a) / n, low, high, n)


def _tango_upper(plus: int, minus: int, n: int, confidence: float) -> float:
    from scipy.optimize import brentq
    from scipy.special import ndtri

    z = float(ndtri(0.5 + confidence / 2))

    def excess(delta: float) -> float:
        linear = -plus - minus + (2 * n - plus + minus) * delta
        root = math.sqrt(max(0.0, linear**2 + 8 * n * minus * delta * (1 - delta)))
        variance = n * ((root - linear) / (2 * n) + delta * (1 - delta))
        return (n * delta - plus + minus) - z * math.sqrt(max(0.0, variance))

    inner = (plus - minus) / n + 1e-9  # the estimate itself can be a second, empty root
    return 1.0 if inner >= 1 or excess(1.0) <= 0 else float(brentq(excess, inner, 1.0))


# --- any score: resampling --------------------------------------------------------------------------------------------


def mean(totals: Array) -> Array:
    """The mean, from the sums of (value, 1)."""
    return np.asarray(totals[..., 0] / totals[..., 1])


def bootstrap_interval(
    values: npt.ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    statistic: Statistic = mean,
    resamples: int = 10_000,
    seed: int = 0,
    confidence: float = 0.95,
    limits: tuple[float, float] | None = None,
) -> Interval:
    """Bootstrap interval of a statistic of column sums; whole clusters are drawn where given.

    `values` is one number a row (for `mean`) or a row of columns. Percentiles are widened to the reach of Student's t,
    without which few rows give too narrow an interval: Hesterberg (2015), The American Statistician 69:371. One
    cluster, or rows all alike, give no width, unless `limits` says between which values the statistic must lie: then
    each end is found with one unseen unit, at that limit, among those drawn. Few bad rows among many perfect ones are
    easily missed by a sample; without the unseen unit the bound was wrong two to six times as often as stated at 50
    rows, nine in ten of them perfect.
    """
    rows = _columns(values)
    units = _by_cluster(rows, clusters)
    drawn = statistic(_resampled_totals(units, resamples, seed))
    tails, ends = _expanded_tails(len(units), confidence), (drawn, drawn)
    if limits:
        unseen = np.random.default_rng([seed, 1]).binomial(len(units) + 1, 1 / (len(units) + 1), resamples)
        share = unseen / (len(units) + 1)
        ends = (drawn + share * (limits[0] - drawn), drawn + share * (limits[1] - drawn))
    low, high = (np.quantile(end, tail) for end, tail in zip(ends, tails, strict=True))
    value = float(statistic(rows.sum(axis=0)))
    return Interval(value, float(min(low, value)), float(max(high, value)), len(rows))


def paired_bootstrap(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    statistic: Statistic = mean,
    resamples: int = 10_000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """Bootstrap interval of statistic(b) less statistic(a), the same rows drawn for both; scores lie between 0 and 1.

    Rows that all differ alike leave it no width; the interval of right/wrong rows that always agree then stands in.
    """
    left, right = _columns(a), _columns(b)
    width = left.shape[1]

    def difference(totals: Array) -> Array:
        return statistic(totals[..., width:]) - statistic(totals[..., :width])

    found = bootstrap_interval(np.hstack([left, right]), clusters, difference, resamples, seed, confidence)
    if found.low < found.high:
        return found
    units = len(left) if clusters is None else len(set(clusters))
    reach, value = paired_difference(0, 0, units, confidence).high, found.value
    return Interval(value, max(-1.0, value - reach), min(1.0, value + reach), len(left))


def sign_flip(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    statistic: Statistic = mean,
    resamples: int = 10_000,
    seed: int = 0,
) -> float:
    """Two-sided p-value of statistic(b) = statistic(a) when the two swap places at random, row by row or by cluster.

    The approximate randomisation test: Yeh (2000), cs/0008005. The seen arrangement counts as one of them, so the
    p-value is never zero.
    """
    left, right = _by_cluster(_columns(a), clusters), _by_cluster(_columns(b), clusters)
    middle, half = (left + right).sum(axis=0) / 2, (right - left) / 2

    def difference(moved: Array) -> Array:
        return np.abs(statistic(middle + moved) - statistic(middle - moved))

    seen, rng, extreme = difference(half.sum(axis=0)), np.random.default_rng(seed), 0
    for size in _chunks(resamples, len(half)):
        signs = rng.integers(0, 2, (size, len(half)), dtype=np.int8).astype(np.float64) * 2 - 1
        extreme += int((difference(signs @ half) >= seen - 1e-12).sum())
    return (extreme + 1) / (resamples + 1)


def quantile_interval(values: Sequence[float], q: float, confidence: float = 0.95) -> Interval:
    """A quantile (a p95 latency) between two order statistics: Conover (1999), section 3.2; no shape is assumed.

    Where so few values cannot reach the confidence, the interval ends at the smallest or largest one seen.
    """
    from scipy.stats import binom

    ordered, n, tail = np.sort(np.asarray(values, dtype=np.float64)), len(values), (1 - confidence) / 2
    value = float(np.quantile(ordered, q))
    low = ordered[max(1, int(binom.ppf(tail, n, q))) - 1]
    high = ordered[min(n, int(binom.ppf(1 - tail, n, q)) + 1) - 1]
    return Interval(value, float(min(low, value)), float(max(high, value)), n)


def _columns(values: npt.ArrayLike) -> Array:
    rows = np.asarray(values, dtype=np.float64)
    return np.stack([rows, np.ones_like(rows)], axis=1) if rows.ndim == 1 else rows


def _by_cluster(rows: Array, clusters: Sequence[Hashable] | None) -> Array:
    if clusters is None:
        return rows
    names: dict[Hashable, int] = {}
    codes = [names.setdefault(c, len(names)) for c in clusters]
    sums = np.zeros((len(names), rows.shape[1]))
    np.add.at(sums, codes, rows)
    return sums


def _chunks(resamples: int, units: int) -> list[int]:
    size = max(1, _CHUNK // units)
    return [min(size, resamples - start) for start in range(0, resamples, size)]


def _resampled_totals(units: Array, resamples: int, seed: int) -> Array:
    rng, n, totals = np.random.default_rng(seed), len(units), []
    for size in _chunks(resamples, n):
        drawn = rng.integers(0, n, (size, n)) + np.arange(size)[:, None] * n
        weights = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n)
        totals.append(weights.astype(np.float64) @ units)
    return np.concatenate(totals)


def _expanded_tails(units: int, confidence: float) -> tuple[float, float]:
    from scipy.special import ndtr, stdtrit

    if units < 2:
        return 0.0, 1.0
    tail = float(ndtr(stdtrit(units - 1, (1 - confidence) / 2) * math.sqrt(units / (units - 1))))
    return tail, 1 - tail


# --- many tests, and how many rows ------------------------------------------------------------------------------------


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Adjusted p-values, same order: any one below alpha errs with probability at most alpha in all. Holm (1979)."""
    m, adjusted, worst = len(p_values), [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(m), key=lambda i: p_values[i])):
        worst = max(worst, min(1.0, (m - rank) * p_values[i]))
        adjusted[i] = worst
    return tuple(adjusted)


def smallest_difference(n: int, discordant_share: float, alpha: float = 0.05, power: float = 0.8) -> float | None:
    """The smallest difference of two methods that `n` shared rows would show with this power (mid-p McNemar).

    `discordant_share` is the share of rows on which just one of the two is right. None where even a difference of that
    whole share would be missed too often.
    """
    from scipy.optimize import brentq
    from scipy.stats import binom

    rows = np.arange(n + 1)
    chance = binom.pmf(rows, n, discordant_share)
    rows, chance = rows[chance > 1e-12], chance[chance > 1e-12]
    critical = binom.ppf(alpha / 2, rows, 0.5)  # the most rows the worse method may win alone
    critical = critical - (2 * binom.cdf(critical, rows, 0.5) - binom.pmf(critical, rows, 0.5) > alpha)

    def spare(difference: float) -> float:
        share = 0.5 - difference / (2 * discordant_share)
        found = binom.cdf(critical, rows, share) + binom.cdf(critical, rows, 1 - share)
        return float(chance @ found) - power

    if discordant_share <= 0 or spare(discordant_share) < 0:
        return None
    return float(brentq(spare, 0.0, discordant_share, xtol=1e-6))


def rows_needed(p: float, goal: float, alpha: float = 0.05) -> int:
    """About how many rows in all until a one-sided Wilson bound settles on which side of `goal` a rate of `p` is.

    From the score test that the bound inverts: n = z² goal (1 - goal) / (p - goal)², at most MOST_ROWS.
    """
    from scipy.special import ndtri

    if p == goal:
        return MOST_ROWS
    n = float(ndtri(1 - alpha)) ** 2 * goal * (1 - goal) / (p - goal) ** 2
    return max(1, math.ceil(min(n, MOST_ROWS)))
