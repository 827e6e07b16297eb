"""The error that climbs have spent on the same held-out rows: a second try gets of what is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rung.claims.shares import ERROR, FIRST
from rung.climbing import cascading
from rung.climbing.project import Project
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

    @property
    def later(self) -> float:
        """What a later climb with other rungs or more rows would have."""
        return FIRST * max(0.0, ERROR - self.before - self.error)


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
    now, entries = _entry(project), _entries(project)
    for entry, before in zip(entries, _spent_before(entries, now)):
        if entry.covers(now):
            return Spending(entry.error, before, len(entry.rungs), True)
    before = sum(entry.error for entry in entries if entry.shares_rows(now))
    return Spending(FIRST * max(0.0, ERROR - before), before, max(1, len(now.rungs)), False)


def register(project: Project) -> None:
    """Write down that the present climb spends its error; nothing if it stands there already."""
    found = spending(project)
    if not found.known:
        entry = _entry(project)
        stored = [*project.store.read(FILE).get("climbs", []), asdict(entry) | {"error": found.error}]
        project.store.write(FILE, {"climbs": stored})


def _spent_before(entries: Sequence[Entry], now: Entry) -> list[float]:
    """For each climb, what those before it on rows of the present one had spent."""
    shared = [entry.error if entry.shares_rows(now) else 0.0 for entry in entries]
    return [sum(shared[:place]) for place in range(len(entries))]


def _entries(project: Project) -> list[Entry]:
    return [_read(one) for one in project.store.read(FILE).get("climbs", [])]


def _read(stored: Mapping[str, Any]) -> Entry:
    rows = {name: tuple(stored[name]) for name in ("rungs", "dev", "sealed")}
    return Entry(stored["error"], rows["rungs"], stored["goal"], rows["dev"], rows["sealed"])


def _entry(project: Project) -> Entry:
    goal, splits = project.task.goal, project.inputs.splits
    steps = [step for step in project.plan.steps if step.estimate]
    keys = {digest([step.base.start.digest, cascading.step_keys(project, step)])[:16] for step in steps}
    return Entry(
        0.0,
        tuple(sorted(keys)),
        digest([goal.model_dump(mode="json", exclude_none=True, exclude=AS_MEASURED), project.scoring.key])[:16],
        tuple(row.id[:12] for row in splits.dev),
        tuple(row.id[:12] for row in splits.test.open()),
    )
