"""Metrics with an argument in their name: `within(5%)`, `mae_score(2 days)`, `quadratic_kappa(poor < fair < good)`."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

from rung.errors import TaskError
from rung.metrics import graded
from rung.metrics.amounts import Tolerance, tolerance
from rung.metrics.metric import Metric

BELOW = " < "
"""Between labels in order, lowest first."""
_NAME = re.compile(r"([a-z_]+)(?:\((.*)\))?", re.DOTALL)


def _within(name: str, argument: str, folder: Path | None) -> Metric:
    given = _tolerance(name, argument)
    return Metric(name, ("answer", "classify"), graded.within(given), binary=True, abstains=True, fault=graded.fault(given))


def _mae_score(name: str, argument: str, folder: Path | None) -> Metric:
    given = _tolerance(name, argument)
    if not given.amount.value:
        raise _wrong(name, "its tolerance is 0", "Take within(0), or a tolerance over 0 at which an answer is worth nothing.")
    return Metric(name, ("answer", "classify"), graded.mae_score(given), abstains=True, fault=graded.fault(given))


def _quadratic_kappa(name: str, argument: str, folder: Path | None) -> Metric:
    order = tuple(label.strip() for label in argument.split(BELOW.strip()))
    if len(order) < 2 or not all(order) or len(set(order)) < len(order):
        raise _wrong(name, "its argument is not two or more labels in order", "Write them lowest first: poor < fair < good.")
    kappa = graded.quadratic_kappa(order)
    return Metric(name, ("classify", "answer"), graded.same_place(order), kappa, fault=graded.place_fault(order))


def _tolerance(name: str, argument: str) -> Tolerance:
    found = tolerance(argument)
    if found is None:
        form = name.partition("(")[0]
        raise _wrong(name, "it needs a tolerance", f"Write {form}(0.5), {form}(5%), {form}(0.1 kg), or {form}(2 days) for dates.")
    return found


_MADE: dict[str, tuple[str, Callable[[str, str, Path | None], Metric]]] = {
    "within": ("within(TOLERANCE)", _within),
    "mae_score": ("mae_score(TOLERANCE)", _mae_score),
    "quadratic_kappa": ("quadratic_kappa(LOWEST < … < HIGHEST)", _quadratic_kappa),
}
FORMS = tuple(form for form, _ in _MADE.values())
"""How they are written, for messages."""


@cache
def read(name: str, folder: Path | None = None) -> Metric | None:
    """The metric of a name with an argument; None for a name of another form. TaskError for a wrong argument."""
    found = _NAME.fullmatch(name.strip())
    made = _MADE.get(found[1]) if found else None
    return made[1](name, found[2] or "", folder) if found and made else None


def _wrong(name: str, what: str, remedy: str) -> TaskError:
    return TaskError(f"metric {name!r}: {what}.", where="rung.yaml goal.metric", remedy=remedy)
