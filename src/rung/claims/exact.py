"""Right/wrong rows, exactly: binomial tails, bounds and predictions that hold at every number of rows and every goal."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from rung.metrics.stats import Array

MANY = 3000
"""Rows above which the chance of a draw matters little beside the uncertain rate."""


def tail(least: float, rows: float, rate: float) -> float:
    """The probability of at least `least` right answers in `rows` rows, each right with probability `rate`.

    Rows may be fractional (an effective number): the binomial tail as a regularised beta function.
    """
    from scipy.special import betainc

    if least <= 0 or rate >= 1:
        return 1.0
    return float(betainc(least, rows - least + 1, rate)) if least <= rows else 0.0


def lower(right: float, rows: float, error: float) -> float:
    """The rate that would show at least so many right answers with probability `error`: Clopper and Pearson (1934)."""
    from scipy.special import betaincinv

    return float(betaincinv(right, rows - right + 1, error)) if right > 0 else 0.0


def upper(right: float, rows: float, error: float) -> float:
    """The rate that would show at most so many right answers with probability `error`."""
    from scipy.special import betaincinv

    return float(betaincinv(right + 1, rows - right, 1 - error)) if right < rows else 1.0


@lru_cache(maxsize=64)
def tails(rows: int, rate: float) -> Array:
    """`tail(k, rows, rate)` for k from 0 to rows + 1."""
    return tails_at(np.arange(rows + 2), rows, rate)


def tails_at(least: npt.NDArray[Any], rows: int, rate: float) -> Array:
    """`tail` for each whole number in `least`, from 0 to rows + 1."""
    from scipy.special import bdtrc

    found = np.ones(len(least))
    inner = (least > 0) & (least <= rows)
    found[inner] = bdtrc(least[inner] - 1, rows, rate) if rate < 1 else 1.0
    found[least > rows] = 0.0
    return found


def fewest(rows: int, goal: float, error: float) -> int:
    """The fewest right answers that a rung at the goal reaches with probability at most `error`; rows + 1 if none."""
    return int(np.argmax(tails(rows, goal) <= error * (1 + 1e-12)))


def predicted(least: float, more: int, right: int, rows: int) -> float:
    """The chance of at least `least` right answers in `more` further rows, after `right` in `rows`.

    The rate is uncertain: its posterior by Jeffreys's prior, so the number is beta-binomial. Among MANY rows the share right is
    taken as the rate itself.
    """
    from scipy.special import betaincc, betaln, gammaln

    if least <= 0 or least > more:
        return float(least <= 0)
    if more > MANY:
        return float(betaincc(right + 0.5, rows - right + 0.5, (least - 0.5) / more))
    k = np.arange(int(np.ceil(least)), more + 1)
    a, b = right + 0.5, rows - right + 0.5
    choose = gammaln(more + 1) - gammaln(k + 1) - gammaln(more - k + 1)
    return float(min(1.0, np.exp(choose + betaln(k + a, more - k + b) - betaln(a, b)).sum()))
