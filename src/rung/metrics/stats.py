"""Intervals, paired tests and sample sizes for scores on small sets of held-out rows."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt

from rung.types import Interval

Array = npt.NDArray[np.float64]

MAX_ROWS = 1_000_000
"""Result of `rows_needed` if no practical number of rows is enough."""

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

    Rao and Scott (1992), Biometrics 48. If all rows agree, correlation within clusters is unknown, and each cluster
    counts as one row.
    """
    x = np.asarray(values, dtype=np.float64)
    p, n = x.mean(), len(x)
    sums = by_cluster(np.stack([x - p], axis=1), clusters)[:, 0]
    units = len(sums)
    if p in (0.0, 1.0) or units < 2:
        return float(units)
    effect = units / (units - 1) * float(sums @ sums) / (n * p * (1 - p))
    return float(n / max(1.0, effect))


def mcnemar_mid_p(only_a: int, only_b: int) -> float:
    """Two-sided mid-p McNemar test of two methods on the same rows, from the rows that only one of them got right.

    Fagerland, Lydersen and Laake (2013), BMC Med Res Methodol 13:91: keeps its level where the exact test is too
    conservative.
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

    Tango (1998), Statistics in Medicine 17:891. Good for small n, and of non-zero width even if the two always agree.
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


# --- any value --------------------------------------------------------------------------------------------------------


def quantile_interval(values: Sequence[float], q: float, confidence: float = 0.95) -> Interval:
    """A quantile (a p95 latency) between two order statistics: Conover (1999), section 3.2; no shape is assumed.

    If there are too few values for the confidence, the interval ends at the smallest or largest.
    """
    from scipy.stats import binom

    ordered, n, tail = np.sort(np.asarray(values, dtype=np.float64)), len(values), (1 - confidence) / 2
    value = float(np.quantile(ordered, q))
    low = ordered[max(1, int(binom.ppf(tail, n, q))) - 1]
    high = ordered[min(n, int(binom.ppf(1 - tail, n, q)) + 1) - 1]
    return Interval(value, float(min(low, value)), float(max(high, value)), n)


def by_cluster(rows: Array, clusters: Sequence[Hashable] | None) -> Array:
    """Row sums per cluster, in order of first occurrence; the rows themselves without clusters."""
    if clusters is None:
        return rows
    names: dict[Hashable, int] = {}
    codes = [names.setdefault(c, len(names)) for c in clusters]
    sums = np.zeros((len(names), rows.shape[1]))
    np.add.at(sums, codes, rows)
    return sums


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

    `discordant_share` is the share of rows on which just one of the two is right. None if even a difference of that
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
    """Approximate total rows until a one-sided Wilson bound shows on which side of `goal` a rate of `p` is.

    From the score test that the bound inverts: n = z² goal (1 - goal) / (p - goal)², at most MOST_ROWS.
    """
    from scipy.special import ndtri

    if p == goal:
        return MAX_ROWS
    n = float(ndtri(1 - alpha)) ** 2 * goal * (1 - goal) / (p - goal) ** 2
    return max(1, math.ceil(min(n, MAX_ROWS)))
