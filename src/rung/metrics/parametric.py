"""Metrics with an argument in their name: `within(5%)`, `mae_score(2 days)`, `quadratic_kappa(poor < fair < good)`."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from rung.errors import TaskError
from rung.metrics import execution, graded
from rung.metrics.amounts import Tolerance, tolerance
from rung.metrics.metric import Metric
from rung.types import Example

BELOW = " < "
"""Between labels in order, lowest first."""
SQLITE = b"SQLite format 3\0"
"""First bytes of an SQLite file."""
_NAME = re.compile(r"([a-z_]+)(?:\((.*)\))?", re.DOTALL)


def _within(name: str, argument: str, folder: Path | None) -> Metric:
    given = _tolerance(name, argument)
    fault = graded.fault(given)
    return Metric(name, ("answer", "classify"), graded.within(given), binary=True, version=2, abstains=True, fault=fault)


def _mae_score(name: str, argument: str, folder: Path | None) -> Metric:
    given = _tolerance(name, argument)
    if not given.amount.value:
        raise _wrong(name, "its tolerance is 0", "Take within(0), or a tolerance over 0 at which an answer is worth nothing.")
    return Metric(name, ("answer", "classify"), graded.mae_score(given), version=2, abstains=True, fault=graded.fault(given))


def _quadratic_kappa(name: str, argument: str, folder: Path | None) -> Metric:
    order = tuple(label.strip() for label in argument.split(BELOW.strip()))
    if len(order) < 2 or not all(order) or len(set(order)) < len(order):
        raise _wrong(name, "its argument is not two or more labels in order", "Write them lowest first: poor < fair < good.")
    kappa = graded.quadratic_kappa(order)
    return Metric(name, ("classify", "answer"), graded.same_place(order), kappa, fault=graded.place_fault(order))


def _execution(name: str, argument: str, folder: Path | None) -> Metric:
    if os.name != "posix":
        raise _wrong(name, "the limits of its child process need a POSIX system", "Take exact_match.")
    if not argument:
        raise _wrong(name, "it needs an SQLite file", "Write execution(shop.sqlite).")
    per_row = execution.score(_database(name, argument, folder)) if folder else _without_folder
    return Metric(name, ("answer", "generate"), per_row, binary=True)


def _without_folder(output: str, reference: str, example: Example) -> float:
    raise AssertionError("queries are run by a metric that knows its task's folder")


def _database(name: str, argument: str, folder: Path) -> Path:
    path = folder / argument
    if not path.is_file() or path.open("rb").read(len(SQLITE)) != SQLITE:
        raise _wrong(name, f"{argument!r} is no SQLite file beside rung.yaml", "Name the file that the queries are for.")
    return path


def content_digests(name: str, folder: Path) -> list[str]:
    """SHA-256 of the file that a metric's argument names; empty for other metrics."""
    found = _NAME.fullmatch(name.strip())
    if not found or found[1] != "execution":
        return []
    with _database(name, found[2] or "", folder).open("rb") as file:
        return [hashlib.file_digest(file, "sha256").hexdigest()]


def failing_rows(name: str, folder: Path, rows: Sequence[Example]) -> dict[str, str]:
    """Rows whose right answer the metric cannot run, by location, with the reason; none for other metrics."""
    found = _NAME.fullmatch(name.strip())
    if not found or found[1] != "execution":
        return {}
    return execution.failing(_database(name, found[2] or "", folder), rows)


def _tolerance(name: str, argument: str) -> Tolerance:
    found = tolerance(argument)
    if found is None:
        form = name.partition("(")[0]
        raise _wrong(name, "it needs a tolerance", f"Write {form}(0.5), {form}(5%), {form}(0.1 kg), or {form}(2 days) for dates.")
    return found


_MADE: dict[str, tuple[str, Callable[[str, str, Path | None], Metric]]] = {
    "within": ("within(TOLERANCE)", _within),
    "mae_score": ("mae_score(TOLERANCE)", _mae_score),
    "execution": ("execution(SQLITE FILE)", _execution),
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
