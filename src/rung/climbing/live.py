"""The climb that runs in a task's folder, written down so that another process can show it.

`live.json` in the `.rung` folder says what is planned, done and under way. It goes when the climb ends; one that a killed
process left behind names a process that is no more.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Protocol

from pydantic import TypeAdapter

from rung.climbing.project import Project
from rung.planning.steps import Step
from rung.planning.total import total
from rung.store import Store
from rung.task import Task
from rung.types import Record

FILE = "live.json"
EVERY = 1.0
"""Seconds between two writes of what is under way."""


class Watcher(Protocol):
    """Receives the progress of a climb."""

    def planned(self, steps: Sequence[Step]) -> None: ...
    def began(self, rung: str) -> None: ...
    def progress(self, rung: str, text: str, share: float) -> None: ...
    def ended(self, record: Record) -> None: ...


@dataclass(frozen=True, slots=True)
class LiveRung:
    """One rung of a climb that runs."""

    rung: str
    seconds: float = 0.0
    """Estimate of fitting and answering, in seconds."""
    state: str = "waiting"
    """waiting, running, or a record's status: done, skipped, failed."""
    reason: str = ""
    """Why it was skipped, or has failed; while it runs, what it does."""
    share: float = 0.0
    """Of what it does, from 0 to 1."""
    score: str = ""
    """With its interval and n."""
    fit_seconds: float | None = None
    month_usd: float | None = None
    p95_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Live:
    """A climb that runs."""

    pid: int
    born: float
    """When that process began, in seconds since 1970: a later one may have its number."""
    started: float
    """When the climb began."""
    metric: str
    rungs: tuple[LiveRung, ...] = ()
    minutes: float | None = None
    """The budget of the climb."""
    began: float = 0.0
    """When the rung under way began."""

    @property
    def done(self) -> int:
        """Rungs that are over."""
        return sum(one.state not in ("waiting", "running") for one in self.rungs)

    def left(self, now: float) -> float:
        """Seconds that the rungs ahead may take by their estimates, at most what the budget leaves."""
        ahead = sum(one.seconds for one in self.rungs if one.state == "waiting")
        under_way = sum(max(0.0, one.seconds - (now - self.began)) for one in self.rungs if one.state == "running")
        budget = float("inf") if self.minutes is None else max(0.0, self.started + 60 * self.minutes - now)
        return min(ahead + under_way, budget)


def running(store: Store) -> Live | None:
    """The climb that runs in a folder; None where none does."""
    found = store.read(FILE)
    live = TypeAdapter(Live).validate_python(found) if found else None
    return live if live and _born(live.pid) == live.born else None


@contextmanager
def shown(project: Project, watcher: Watcher) -> Iterator[Watcher]:
    """A watcher that also writes the climb down for as long as the block runs."""
    try:
        yield _Writing(project, watcher)
    finally:
        (project.store.folder / FILE).unlink(missing_ok=True)


class _Writing:
    """Passes on to another watcher, and writes `live.json`."""

    def __init__(self, project: Project, watcher: Watcher):
        self.project, self.watcher = project, watcher
        self.live = this_process(project.task)
        self.written = 0.0

    def planned(self, steps: Sequence[Step]) -> None:
        rungs = tuple(
            LiveRung(step.rung, self._seconds(step), "waiting" if step.estimate else "skipped", step.skip) for step in steps
        )
        self._write(replace(self.live, rungs=rungs))
        self.watcher.planned(steps)

    def began(self, rung: str) -> None:
        self._write(replace(self._with(rung, state="running"), began=time.time()))
        self.watcher.began(rung)

    def progress(self, rung: str, text: str, share: float) -> None:
        self.live = self._with(rung, reason=text, share=min(1.0, max(0.0, share)))
        if time.monotonic() - self.written >= EVERY:
            self._write(self.live)
        self.watcher.progress(rung, text, share)

    def ended(self, record: Record) -> None:
        measured = {
            "score": str(record.scores.overall) if record.scores else "",
            "fit_seconds": record.cost.fit_seconds if record.cost else None,
            "month_usd": record.cost.per_month_usd if record.cost else None,
            "p95_ms": record.latency.p95.value if record.latency else None,
        }
        self._write(self._with(record.rung, state=record.status, reason=record.reason, share=1.0, **measured))
        self.watcher.ended(record)

    def _with(self, rung: str, **changes: object) -> Live:
        rungs = tuple(replace(one, **changes) if one.rung == rung else one for one in self.live.rungs)  # type: ignore[arg-type]
        return replace(self.live, rungs=rungs)

    def _write(self, live: Live) -> None:
        self.live, self.written = live, time.monotonic()
        self.project.store.write(FILE, asdict(live))

    def _seconds(self, step: Step) -> float:
        if not step.estimate:
            return 0.0
        found = total([step], len(self.project.inputs.splits.dev), self.project.criteria.probe, self.project.machine)
        return found.seconds


def this_process(task: Task) -> Live:
    """A climb of this process that begins now."""
    return Live(os.getpid(), _born(os.getpid()), time.time(), task.goal.metric, minutes=task.budget.minutes)


def _born(pid: int) -> float:
    """When a process began; 0 for one that is no more."""
    import psutil

    try:
        return psutil.Process(pid).create_time()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0.0
