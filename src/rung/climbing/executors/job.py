"""A job, and what executors have in common."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from rung.climbing.cascading import step_keys
from rung.climbing.live import Watcher
from rung.climbing.project import Project
from rung.planning.steps import Step
from rung.sequential.race import RacePlan
from rung.types import Record


@dataclass(frozen=True, slots=True)
class Job:
    """One rung to measure."""

    step: Step
    race: RacePlan | None = None


@dataclass(frozen=True, slots=True)
class Setting:
    """What the jobs of a climb have in common."""

    project: Project
    watcher: Watcher
    until: float
    """`time.monotonic()` after which nothing new is begun; infinite without a limit."""
    everything: bool = False
    """Whether every rung is measured, so that none may turn out to be needless."""


class Executor(Protocol):
    """Measures rungs."""

    def run(self, jobs: Iterable[Job]) -> Generator[Record]:
        """A record for each job, in their order. Closing the iterator cancels those under way."""
        ...

    def beside(self) -> AbstractContextManager[object]:
        """Entered for work of the climb's own process while jobs may run."""
        ...


Open = Callable[[Setting], AbstractContextManager[Executor]]
"""Opens an executor for one climb."""


def waits_for(project: Project, jobs: Sequence[Job], everything: bool) -> list[set[int]]:
    """For each job, which earlier ones must have ended before it begins.

    Those with which it shares a fit or a Predictor: a cascade its parts, `encoder+x` the rung `encoder`. A job that asks an API
    waits for the earlier ones that do, since dollars are noted as differences of one ledger; and unless every rung is
    measured, for all earlier ones, since they may make its calls needless.
    """
    makes = [_makes(project, one.step) for one in jobs]
    found = []
    for place, job in enumerate(jobs):
        asks = asks_api(job.step)
        found.append(
            {
                before
                for before in range(place)
                if makes[place] & makes[before] or (asks and (not everything or asks_api(jobs[before].step)))
            }
        )
    return found


def asks_api(step: Step) -> bool:
    """Whether a rung, or a part of it, calls an API to fit or to answer."""
    from rung.methods.chain import asks_api as asks

    return any(asks(one.methods, one.base.start.model) for one in step.parts or (step,))


def _makes(project: Project, step: Step) -> set[str]:
    """Keys of what measuring a rung writes: its fits, or the untouched Predictor of one that fits nothing."""
    if not step.estimate:
        return set()
    bare = {one.base.start.digest for one in step.parts or (step,) if not one.methods}
    return {*step_keys(project, step), *bare}
