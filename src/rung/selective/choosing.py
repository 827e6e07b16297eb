"""Thresholds on confidence: chosen from train rows that were answered as new ones, with each row's confidence and score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rung.metrics.stats import Array
from rung.predictor import Threshold, sure

LEAST_ROWS = 20
"""Train rows below which no threshold is chosen."""
NEVER = 2.0
"""A threshold that no confidence reaches."""
MARGIN = 0.5
"""Standard errors by which a cascade is to score no lower than its dear rung on the train rows that its threshold is chosen on.
Without a margin the lowest such threshold is a lucky one: new rows then score lower on average (DECISIONS.md)."""
BINS = 10
"""Bins of equally many rows, for the calibration error."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Train rows answered as new ones, the surest first."""

    confidences: Array
    """(rows,); minus infinity for a row that the rung left unanswered or gave no confidence with."""
    scores: Array
    """(rows,), from 0 to 1."""

    @classmethod
    def of(cls, confidences: Sequence[float], scores: Sequence[float]) -> Asked:
        """In order of confidence."""
        given = np.asarray(confidences, float)
        order = np.argsort(-given, kind="stable")
        return cls(given[order], np.asarray(scores, float)[order])

    @property
    def cuts(self) -> list[int]:
        """Numbers of rows that a threshold can answer: never some of the rows that are equally sure."""
        given, n = self.confidences, len(self.confidences)
        return [k for k in range(1, n + 1) if np.isfinite(given[k - 1]) and (k == n or given[k] < given[k - 1])]

    def at(self, answered: int) -> float:
        """The threshold that answers so many of the rows: halfway to the next; 0 for all."""
        if answered == len(self.confidences):
            return 0.0
        below = self.confidences[answered]
        return float((self.confidences[answered - 1] + max(below, 0.0)) / 2)


def for_goal(asked: Asked, at_least: float, coverage: float, held: int) -> int:
    """How many of the train rows, the surest first, a rung should answer.

    The number at which both the score and the share answered are farthest above the goal: the smaller of the two margins, in
    standard errors that `held` held-out rows will have, is largest. Of equal ones the largest number.
    """
    cuts = np.asarray(asked.cuts)
    share = cuts / len(asked.scores)
    score = np.cumsum(asked.scores)[cuts - 1] / cuts
    spread = max(np.sqrt(at_least * (1 - at_least)), 1e-3)
    above = (score - at_least) / (spread / np.sqrt(held * share))
    wide = (share - coverage) / np.sqrt(coverage * (1 - coverage) / held)
    margin = np.minimum(above, wide)
    return int(cuts[np.flatnonzero(margin >= margin.max() - 1e-12)[-1]])


def for_cascade(confidences: Sequence[float], first: Sequence[float], second: Sequence[float]) -> tuple[int, float]:
    """How many rows, the surest first, the first of a cascade should answer, and the threshold for that.

    The most at which the rows that the two answer together score no lower than the second alone, by MARGIN standard errors of
    the difference. `first`, `second`: both scores of each row. 0 rows, and a threshold that no confidence reaches, where the
    first is never as good.
    """
    asked = Asked.of(confidences, first)
    order = np.argsort(-np.asarray(confidences, float), kind="stable")
    gains = asked.scores - np.asarray(second, float)[order]
    gain = np.cumsum(gains)
    variance = np.cumsum(gains**2) - gain**2 / len(gains)  # of the sum; a row that is passed on gains 0
    error = np.sqrt(np.maximum(variance, 0))  # rounding takes equal gains below 0
    good = [k for k in asked.cuts if gain[k - 1] >= MARGIN * error[k - 1] - 1e-9]
    return (good[-1], asked.at(good[-1])) if good else (0, NEVER)


def auc(confidences: Sequence[float], scores: Sequence[float]) -> float | None:
    """The chance that a right row has a higher confidence than a wrong one, ties counted half; None if all are alike.

    A graded row counts as right from 0.5.
    """
    from scipy.stats import rankdata

    right = np.asarray(scores) >= 0.5
    n, wrong = int(right.sum()), int((~right).sum())
    if not n or not wrong:
        return None
    return float((rankdata(confidences)[right].sum() - n * (n + 1) / 2) / (n * wrong))


# --- calibration ------------------------------------------------------------------------------------------------------


def calibrated(confidences: Sequence[float] | Array, slope: float, shift: float) -> Array:
    """Confidences as `rung.predictor.sure.calibrated` states them."""
    how = Threshold(0.0, slope, shift)
    return np.array([sure.calibrated(float(one), how) for one in confidences])


def calibration(confidences: Sequence[float], scores: Sequence[float]) -> tuple[float, float]:
    """Slope and shift under which the confidence is nearest to the chance of being right; (1, 0) where that helps nothing.

    It helps if the log loss of each fifth of the rows, calibrated by the others, is lower in all.
    """
    given, right = np.asarray(confidences, float), np.asarray(scores, float)
    held = np.empty(len(given))
    for fifth in (np.arange(len(given)) % 5 == k for k in range(5)):
        held[fifth] = calibrated(given[fifth], *_platt(given[~fifth], right[~fifth]))
    return _platt(given, right) if _loss(held, right) < _loss(given, right) else (1.0, 0.0)


def calibration_error(confidences: Array | Sequence[float], scores: Sequence[float]) -> float:
    """Mean difference between confidence and share right, over bins of equally many rows."""
    given, right = np.asarray(confidences, float), np.asarray(scores, float)
    bins = [part for part in np.array_split(np.argsort(given, kind="stable"), BINS) if len(part)]
    return float(sum(len(part) * abs(given[part].mean() - right[part].mean()) for part in bins) / len(given))


def _platt(given: Array, right: Array) -> tuple[float, float]:
    """Slope and shift of the highest likelihood, with a wrong row and a right one more than there are (Platt 1999)."""
    from scipy.optimize import minimize

    given = np.clip(given, sure.EDGE, 1 - sure.EDGE)
    odds, n = np.log(given / (1 - given)), right.sum()
    high, low = (n + 1) / (n + 2), 1 / (len(right) - n + 2)
    target = low + (high - low) * right

    def loss(of: Array) -> tuple[float, Array]:
        z = of[0] * odds + of[1]
        miss = 1 / (1 + np.exp(-z)) - target
        return float((np.logaddexp(0, z) - target * z).sum()), np.array([(miss * odds).sum(), miss.sum()])

    found = minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=[(1e-3, 1e3), (-50, 50)])
    return float(found.x[0]), float(found.x[1])


def _loss(given: Array, right: Array) -> float:
    """Mean log loss in nats."""
    given = np.clip(given, sure.EDGE, 1 - sure.EDGE)
    return float(-(right * np.log(given) + (1 - right) * np.log(1 - given)).mean())
