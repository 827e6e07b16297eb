"""Metrics of numbers, dates and ordered labels: within a tolerance, the error against one, and quadratic weighted kappa."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from rung.metrics.amounts import DATE, Tolerance, amounts, distance, expected
from rung.metrics.resample import Corpus
from rung.metrics.stats import Array
from rung.types import Example

SLACK = 1e-9
"""Share by which a distance may exceed its tolerance, for the rounding of conversions."""


def fault(given: Tolerance) -> Callable[[str], str]:
    """Why a right answer cannot be scored with this tolerance; empty if it can."""

    def why(reference: str) -> str:
        right = expected(reference)
        if right is None:
            return "states no number, amount or date"
        if given.relative and right.unit == DATE:
            return "is a date, whose tolerance is in days"
        return "" if given.around(right) is not None else f"is not measured in {given.amount.unit}"

    return why


def within(given: Tolerance) -> Callable[[str, str, Example], float]:
    """1 if the answer lies no further from the right one than the tolerance."""

    def per_row(output: str, reference: str, example: Example) -> float:
        apart, most = _apart(given, output, reference)
        return float(apart <= most * (1 + SLACK))

    return per_row


def mae_score(given: Tolerance) -> Callable[[str, str, Example], float]:
    """1 less the absolute error in tolerances, at least 0: half the tolerance away scores 0.5, all of it 0."""

    def per_row(output: str, reference: str, example: Example) -> float:
        apart, most = _apart(given, output, reference)
        return max(0.0, 1.0 - apart / most) if most else float(apart == 0)

    return per_row


def _apart(given: Tolerance, output: str, reference: str) -> tuple[float, float]:
    """Distance of the answer and the tolerance, in the right answer's unit; infinitely far where it states none."""
    right = expected(reference)
    assert right is not None, "checked when the rows were read"
    apart, most = distance(output, reference), given.around(right)
    assert most is not None, "checked when the rows were read"
    return (math.inf if apart is None else apart), most


# --- ordered labels ----------------------------------------------------------------------------------------------------


def place(text: str, order: Sequence[str] = ()) -> float | None:
    """Where a label stands: its number in `order`, or the number that it states; None for neither."""
    if order:
        named = [one.casefold() for one in order]
        return float(named.index(found)) if (found := text.strip().casefold()) in named else None
    found_amounts = amounts(text)
    return found_amounts[-1].value if len(found_amounts) == 1 and math.isfinite(found_amounts[-1].value) else None


def place_fault(order: Sequence[str] = ()) -> Callable[[str], str]:
    """Why a right label has no place; empty if it has one."""
    why = "is none of the labels in order" if order else "is no number; name the labels under `labels`, lowest first"
    return lambda reference: "" if place(reference, order) is not None else why


def same_place(order: Sequence[str] = ()) -> Callable[[str, str, Example], float]:
    """1 if the answer stands where the right label does."""
    return lambda output, reference, example: float(place(output, order) == place(reference, order))


def quadratic_kappa(order: Sequence[str] = ()) -> Corpus:
    """Cohen's kappa with quadratic weights. Cohen (1968), Psychological Bulletin 70:213.

    One less the mean squared distance of answer and right label over that of answers and labels paired at random; under 0 counts
    as 0. An answer without a place counts as the far end of the scale that the right labels span.
    """

    def columns(outputs: Sequence[str], references: Sequence[str]) -> Array:
        due = np.array([place(reference, order) for reference in references], dtype=np.float64)
        ends = (0.0, len(order) - 1.0) if order else (float(due.min()), float(due.max()))
        far = np.where(due - ends[0] > ends[1] - due, ends[0], ends[1])
        said = np.array([np.nan if (at := place(output, order)) is None else at for output in outputs])
        said = np.where(np.isnan(said), far, said)
        return np.stack([(said - due) ** 2, said**2, due**2, said, due, np.ones_like(due)], axis=1)

    return Corpus(columns, _kappa)


def _kappa(totals: Array) -> Array:
    apart, said2, due2, said, due, rows = np.moveaxis(totals, -1, 0)
    chance = (said2 + due2) / rows - 2 * said * due / rows**2
    kappa = 1 - np.divide(apart / rows, chance, out=np.ones_like(apart), where=chance > 0)
    return np.clip(np.where((chance <= 0) & (apart == 0), 1.0, kappa), 0.0, 1.0)
