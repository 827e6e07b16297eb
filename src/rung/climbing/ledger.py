"""The error that climbs have spent on the same held-out rows: a second try gets of what is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from rung.claims.shares import ERROR, FIRST
from rung.climbing import cascading
from rung.climbing.project import Project
from rung.planning.steps import Step
from rung.types import digest

FILE = "claims.json"
AS_MEASURED = {"latency_ms", "usd_per_1k", "usd_per_month"}
"""Limits outside the claim: to change them is no further try, since the claim holds for whichever rung is chosen."""


@dataclass(frozen=True, slots=True)
class Spending:
    """What one climb may claim with."""

    error: float
    """The error that its rungs share."""
    before: float
    """The error that earlier climbs on these rows have spent."""
    rungs: int
    """The rungs that share it, also those that a later task file no longer names."""
    known: bool
    """Whether it stands in the store already, so that this climb goes on with it."""
    after: float = 0.0
    """The error that later ones on these rows have spent: the usual cascade of this climb, or climbs of other task files."""

    @property
    def later(self) -> float:
        """What a later climb with other rungs or more rows would have."""
        return FIRST * max(0.0, ERROR - self.before - self.error - self.after)


@dataclass(frozen=True, slots=True)
class Entry:
    """A climb as the store keeps it: its rungs, goal and held-out rows, and the error that they may use."""

    error: float
    rungs: tuple[str, ...]
    """A key of each rung that could be tried."""
    goal: str
    dev: tuple[str, ...]
    sealed: tuple[str, ...]
    """Short names of the rows."""

    def covers(self, other: Entry) -> bool:
        """Whether another climb asks nothing new: the same rows and goal, and no other rungs."""
        same = (self.goal, self.dev, self.sealed) == (other.goal, other.dev, other.sealed)
        return same and set(other.rungs) <= set(self.rungs)

    def shares_rows(self, other: Entry) -> bool:
        return bool({*self.dev, *self.sealed} & {*other.dev, *other.sealed})


def spending(project: Project) -> Spending:
    """The error of a climb of the present task, by what earlier climbs on any of its rows have spent.

    The same rungs on the same rows with the same goal are the same climb, however often it is resumed, and so are fewer rungs.
    Anything else (another option, another goal, rows added, taken away or edited) is a new try: it gets FIRST of the error
    left. Only rows that no earlier climb has used begin with the whole error again.
    """
    return _spending(_entries(project), _entry(project, _ordinary(project)))


def errors_apart(project: Project) -> dict[str, float]:
    """By name, the error of a rung that does not share that of the climb: the usual cascade, which is tried after it.

    It spends what a later climb would have, and nothing unless it is measured, so the other rungs lose nothing by it.
    """
    entries, now = _entries(project), _entry(project, _ordinary(project))
    climb = _spending(entries, now)
    entries = entries if climb.known else [*entries, replace(now, error=climb.error)]
    alone = [step for step in project.plan.steps if step.usual and step.estimate]
    found = {step.rung: _spending(entries, _entry(project, [step])) for step in alone}
    return {rung: one.error for rung, one in found.items() if one.rungs == 1}  # an older version counted it among the others


def register(project: Project, step: Step) -> None:
    """Write down that the present climb spends the error of this rung; nothing if it stands there already."""
    entry = _entry(project, [step] if step.usual else _ordinary(project))

    def added(stored: Mapping[str, Any]) -> Mapping[str, Any]:
        climbs = stored.get("climbs", [])
        found = _spending([_read(one) for one in climbs], entry)
        return stored if found.known else {"climbs": [*climbs, asdict(entry) | {"error": found.error}]}

    if not _spending(_entries(project), entry).known:
        project.store.change(FILE, added)


def _spending(entries: Sequence[Entry], now: Entry) -> Spending:
    shared = [entry.error if entry.shares_rows(now) else 0.0 for entry in entries]
    for place, entry in enumerate(entries):
        if entry.covers(now):
            return Spending(entry.error, sum(shared[:place]), len(entry.rungs), True, sum(shared[place + 1 :]))
    before = sum(shared)
    return Spending(FIRST * max(0.0, ERROR - before), before, max(1, len(now.rungs)), False)


def _ordinary(project: Project) -> list[Step]:
    """The rungs that share the error of the climb."""
    return [step for step in project.plan.steps if step.estimate and not step.usual]


def _entries(project: Project) -> list[Entry]:
    return [_read(one) for one in project.store.read(FILE).get("climbs", [])]


def _read(stored: Mapping[str, Any]) -> Entry:
    rows = {name: tuple(stored[name]) for name in ("rungs", "dev", "sealed")}
    return Entry(stored["error"], rows["rungs"], stored["goal"], rows["dev"], rows["sealed"])


def _entry(project: Project, steps: Sequence[Step]) -> Entry:
    goal, splits = project.task.goal, project.inputs.splits
    keys = {digest([step.base.start.digest, cascading.step_keys(project, step)])[:16] for step in steps}
    return Entry(
        0.0,
        tuple(sorted(keys)),
        digest([goal.model_dump(mode="json", exclude_none=True, exclude=AS_MEASURED), project.scoring.key])[:16],
        tuple(row.id[:12] for row in splits.dev),
        tuple(row.id[:12] for row in splits.test.open()),
    )
