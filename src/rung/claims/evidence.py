"""What held-out rows show of one rung: bounds, a candidate among others, and the chance that more rows prove it."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rung.claims import exact
from rung.claims.shares import Candidate, Counted, Measured
from rung.metrics import interval, is_binary, resample, stats
from rung.types import Interval


@dataclass(frozen=True, slots=True)
class Rows:
    """One score of each row, with what is needed to compute the score of the whole from them."""

    values: Sequence[float]
    corpus: resample.Corpus | None = None
    outputs: Sequence[str] = ()
    references: Sequence[str] = ()
    """Right answers, for a metric that is not a mean over rows."""
    clusters: Sequence[Hashable] | None = None

    def __len__(self) -> int:
        return len(self.values)

    @property
    def counted(self) -> bool:
        """Whether the rows are right or wrong, and independent."""
        return self.corpus is None and self.clusters is None and is_binary(self.values)

    @property
    def right(self) -> int:
        return round(sum(self.values))


def bounds(rows: Rows, error: float) -> Interval:
    """The score between two one-sided bounds, each wrong with probability `error`.

    Right/wrong rows have exact bounds, with the effective number of rows where they come in groups; all other scores the
    bootstrap of `rung.metrics.interval`.
    """
    n = len(rows)
    if not n:  # none was answered
        return Interval(0.0, 0.0, 1.0, 0)
    if error <= 0:
        return replace(interval(rows.values, rows.corpus, rows.outputs, rows.references, rows.clusters), low=0.0, high=1.0)
    if rows.corpus is None and is_binary(rows.values):
        effective = float(n) if rows.clusters is None else stats.effective_rows(rows.values, rows.clusters)
        rate = sum(rows.values) / n
        right = round(rate * effective) if rows.clusters is None else rate * effective
        return Interval(rate, exact.lower(right, effective, error), exact.upper(right, effective, error), n)
    return interval(rows.values, rows.corpus, rows.outputs, rows.references, rows.clusters, confidence=1 - 2 * error)


def standard_error(rows: Rows) -> float:
    """Of the score of these rows; never zero, since rows that are all alike do not show that all rows are."""
    return _width(_middle(rows))


def _width(middle: Interval) -> float:
    from scipy.special import ndtri

    return max((middle.high - middle.low) / (2 * float(ndtri(1 - _TAIL))), 1e-6)


_TAIL = 0.16


def _middle(rows: Rows) -> Interval:
    """The score between bounds about one standard error away, from few resamples."""
    if rows.corpus is None and is_binary(rows.values):
        return bounds(rows, _TAIL)
    how: dict[str, Any] = {"resamples": 1000, "confidence": 1 - 2 * _TAIL, "limits": (0.0, 1.0)}
    if rows.corpus is None:
        return resample.bootstrap_interval(rows.values, rows.clusters, **how)
    columns = rows.corpus.columns(rows.outputs, rows.references)
    return resample.bootstrap_interval(columns, rows.clusters, rows.corpus.statistic, **how)


def candidate(seen: Rows, upper: float, sealed: int) -> Candidate:
    """A rung as `rung.claims.shares.levels` counts it. `upper`: the bound of its screening; `sealed`: rows still unseen."""
    total = len(seen) + sealed
    if seen.counted:
        return Counted(total, upper)
    return Measured(upper, standard_error(seen) * math.sqrt(len(seen) / total))


@dataclass(frozen=True, slots=True)
class Outlook:
    """What the rows seen so far say about rows that are still to come."""

    value: float
    row_error: float
    """Standard error of one row's score."""
    rows: int
    right: int | None
    """Right answers, where rows are right or wrong and independent: then chances are exact."""

    def chance(self, more: int, goal: float, level: float) -> float:
        """The chance that the lower bound at this error level reaches the goal after so many further rows of the same kind.

        Right/wrong rows by the beta-binomial distribution, others by the normal. Both count that the score is an estimate.
        """
        from scipy.special import ndtr, ndtri

        total = self.rows + more
        if level <= 0:
            return 0.0
        if self.right is not None:
            needed = exact.fewest(total, goal, level)
            return exact.predicted(needed - self.right, more, self.right, self.rows) if needed <= total else 0.0
        spread = self.row_error * math.sqrt(more / (total * self.rows))
        reach = self.value - goal + float(ndtri(level)) * self.row_error / math.sqrt(total)
        return float(ndtr(reach / spread)) if spread else float(reach >= 0)

    @property
    def mirrored(self) -> Outlook:
        """The same rows with right and wrong exchanged: its chance for 1 - goal is that of falling short of the goal."""
        return replace(self, value=1 - self.value, right=None if self.right is None else self.rows - self.right)

    def decides(self, more: int, goal: float, level: float, error: float) -> float:
        """The chance that so many further rows show on which side of the goal the score is. `error`: of the upper bound."""
        return min(1.0, self.chance(more, goal, level) + self.mirrored.chance(more, 1 - goal, error))


def outlook(rows: Rows) -> Outlook:
    """What rows say about further rows."""
    if rows.counted:
        return Outlook(sum(rows.values) / len(rows), 0.0, len(rows), rows.right)
    middle = _middle(rows)
    return Outlook(middle.value, _width(middle) * math.sqrt(len(rows)), len(rows), None)
