"""How many held-out rows a climb uses: more than prove what is worth proving cost every rung answers and decide nothing."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rung import metrics
from rung.claims.prospects import POWER
from rung.claims.shares import ERROR, FIRST, SCREEN
from rung.data.finding import Finding
from rung.task import Task
from rung.types import Example

UNUSED = "unused-rows"
"""Code of the finding that says how many of how many rows are used."""
ABOVE = 0.02
"""A rung whose true score is so much above the goal is to be proved, with a chance of POWER."""
RUNGS = 8
"""Rungs that share the error, all near the goal."""


def enough(goal: float) -> int:
    """Questions (or groups) in dev and test together that prove a rung ABOVE the goal; by the normal approximation.

    A row's score is taken as right or wrong, which varies most of all scores from 0 to 1.
    """
    from statistics import NormalDist

    true, level = min(goal + ABOVE, 1.0), (1 - SCREEN) * FIRST * ERROR / RUNGS
    gap = max(true - goal, ABOVE / 4)
    reach = NormalDist().inv_cdf(1 - level) * math.sqrt(goal * (1 - goal)) + NormalDist().inv_cdf(POWER) * math.sqrt(
        true * (1 - true)
    )
    return max(200, math.ceil((reach / gap) ** 2))


def needed(task: Task) -> int | None:
    """Questions or groups that a task's goal needs; None where more of them may always tell more.

    That is so for a metric that is no mean over rows: a rare label may decide it. With a coverage only rows that are answered
    count for the score, and the coverage is proved at once.
    """
    metric = metrics.find(task.goal.metric)
    if metric and metric.corpus:
        return None
    if task.goal.coverage is None:
        return enough(task.goal.at_least)
    return max(math.ceil(enough(task.goal.at_least) / task.goal.coverage), enough(task.goal.coverage))


def dev_part(need: int, dev: int, test: int) -> int:
    """How many of `need` questions or groups are dev ones, of so many of dev and of test: half, if both have enough."""
    return min(dev, max(need - test, need // 2))


@dataclass(frozen=True, slots=True)
class Used:
    """The held-out rows of a climb, and those beyond them, which serve no purpose at all."""

    dev: tuple[Example, ...]
    test: tuple[Example, ...]
    unused: tuple[Example, ...] = ()
    findings: tuple[Finding, ...] = ()


def used(dev: tuple[Example, ...], test: tuple[Example, ...], task: Task, unit: Callable[[Example], str]) -> Used:
    """As many dev and test rows as the task says or needs. `unit`: a row's question or group, which is used whole.

    They are drawn by a hash of their unit, so which are used does not depend on their order or their answers.
    """
    given = task.data.split.most
    have = [len({unit(row) for row in rows}) for rows in (dev, test)]
    need = (given or needed(task)) if given != "all" else None
    if need is None or sum(have) <= need:
        return Used(dev, test)
    for_dev = dev_part(need, *have)
    kept, more = _drawn(dev, for_dev, task.seed, unit)
    sealed, rest = _drawn(test, min(have[1], need - for_dev), task.seed, unit)
    why = "as many as `data.split.most` allows" if given else f"enough to prove a rung {ABOVE:g} above the goal"
    what = f"{len(kept)} of {len(dev)} dev rows and {len(sealed)} of {len(test)} test rows are used, drawn at random: {why}."
    left = (*more, *rest)
    return Used(kept, sealed, left, (Finding(UNUSED, "note", what, "`data.split.most: all` uses every row.", count=len(left)),))


def _drawn(
    rows: Sequence[Example], most: int, seed: int, unit: Callable[[Example], str]
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Rows of so many units, and the others; both in their order."""
    names = {row.id: unit(row) for row in rows}
    ranked = sorted(set(names.values()), key=lambda name: hashlib.sha256(f"{seed}\0used\0{name}".encode()).digest())
    chosen = set(ranked[:most])
    return tuple(row for row in rows if names[row.id] in chosen), tuple(row for row in rows if names[row.id] not in chosen)
