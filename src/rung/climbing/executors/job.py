"""What executors do, and what they have in common."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from rung.climbing import measuring
from rung.climbing.cascading import fit_step, missing_fits, step_keys
from rung.climbing.fit import Progress
from rung.climbing.project import Project
from rung.planning.steps import Step
from rung.sequential.race import RacePlan
from rung.types import Record


class Watcher(Protocol):
    """Receives the progress of jobs, by name."""

    def began(self, rung: str) -> None: ...
    def progress(self, rung: str, text: str, share: float) -> None: ...


class Work(Protocol):
    """A job: a rung to measure, a trial of settings, or a part of an index."""

    @property
    def blank(self) -> Record:
        """Its record before anything is known; `rung` is the job's name."""
        ...

    @property
    def asks_api(self) -> bool:
        """Whether it calls an API, so that it costs dollars."""
        ...

    def makes(self, project: Project) -> set[str]:
        """Names of what it writes; a job waits for the first one that writes the same."""
        ...

    def begin(self, project: Project, until: float) -> Record | str:
        """Its record where nothing is to be done (stored, impossible, or too long), else its key."""
        ...

    def until(self, until: float) -> float:
        """When it must have ended, where all of them must at `until`; both by `time.monotonic()`."""
        ...

    def measured(self, project: Project, key: str, until: float, progress: Progress) -> tuple[Record, bool]:
        """Do it here: its record, and whether that is to be stored. A failure is recorded."""
        ...

    def keep(self, project: Project, record: Record) -> None:
        """Store its record."""
        ...

    def sent(self) -> dict[str, Any]:
        """What an order for another machine says of it besides its name and key; plain JSON."""
        ...


@dataclass(frozen=True, slots=True)
class Job:
    """One rung to measure."""

    step: Step
    race: RacePlan | None = None

    @property
    def blank(self) -> Record:
        return Record(rung=self.step.rung, status="skipped", quote=self.step.estimate)

    @property
    def asks_api(self) -> bool:
        return asks_api(self.step)

    def makes(self, project: Project) -> set[str]:
        """Its fits and its answers; of a cascade those of its parts too, and what these answer to train rows."""
        if not self.step.estimate:
            return set()
        parts = self.step.parts
        answers = {*(one.rung for one in parts or (self.step,)), *(f"{one.rung} on train" for one in parts)}
        return answers.union(step_keys(project, self.step))

    def begin(self, project: Project, until: float) -> Record | str:
        return measuring.record_or_key(project, self.step, until, self.race)

    def until(self, until: float) -> float:
        return until

    def measured(self, project: Project, key: str, until: float, progress: Progress) -> tuple[Record, bool]:
        return measuring.measured(project, self.step, key, until, progress, self.race)

    def keep(self, project: Project, record: Record) -> None:
        measuring.keep(project, record)

    def sent(self) -> dict[str, Any]:
        return {"raced": self.race is not None}


@dataclass(frozen=True, slots=True)
class Setting:
    """What the jobs of one run have in common."""

    project: Project
    watcher: Watcher
    until: float
    """`time.monotonic()` after which nothing new is begun; infinite without a limit."""
    everything: bool = False
    """Whether every job is done, so that none may turn out to be needless."""

    def here(self, job: Work) -> Record:
        """Do a job in this process, unless nothing is to be done."""
        return here(job, self.project, self.until, partial(self.watcher.progress, job.blank.rung))


class Executor(Protocol):
    """Does jobs."""

    @property
    def concurrent(self) -> bool:
        """Whether it does several jobs at once, in other processes, so that what they write is read from the store."""
        ...

    def run(self, jobs: Iterable[Work]) -> Generator[Record]:
        """A record for each job, in their order. Closing the iterator cancels those under way."""
        ...

    def beside(self) -> AbstractContextManager[object]:
        """Entered for work of the driver's own process while jobs may run."""
        ...


Open = Callable[[Setting], AbstractContextManager[Executor]]
"""Opens an executor for one climb, or for one tuning run."""

Spelled = Callable[[str], str]
"""How an option is spelled where it was given: `--gpus-per-rung`, `gpus_per_rung`."""


def here(job: Work, project: Project, until: float, progress: Progress) -> Record:
    """Do a job in this process, unless nothing is to be done."""
    key = job.begin(project, until)
    if isinstance(key, Record):
        return key
    record, store = job.measured(project, key, job.until(until), progress)
    if store:
        job.keep(project, record)
    return record


def measure(project: Project, step: Step, until: float, progress: Progress) -> Record:
    """One rung's record: the stored one if nothing it depends on has changed, else measured now and stored.

    Fits that are missing from the store, since they were deleted or are on another machine, are made.
    """
    project.keep_precision([step.methods])
    job = Job(step)
    record = here(job, project, until, progress)
    if record.status != "done" or not missing_fits(project, step):
        return record

    def again() -> tuple[Record, bool]:
        fit_step(project, step, until, progress)
        return record, False

    fitted, store = measuring.guarded(job.blank, record.provenance.key or "", project.store.folder, again)
    if store:
        job.keep(project, fitted)
    return fitted


def waits_for(project: Project, jobs: Sequence[Work], everything: bool) -> list[set[int]]:
    """For each job, which earlier ones must have ended before it begins.

    The first that writes something which it writes or reads too: a cascade waits for its parts, `encoder+x` for the rung
    `encoder`. A job that asks an API waits for the earlier ones that do, since dollars are noted as differences of one ledger;
    and unless every rung is measured, for all earlier ones, since they may make its calls needless.
    """
    first: dict[str, int] = {}
    found = []
    for place, job in enumerate(jobs):
        makes = job.makes(project)
        asked = {before for before in range(place) if job.asks_api and (not everything or jobs[before].asks_api)}
        found.append({first[name] for name in makes if name in first} | asked)
        first = dict.fromkeys(makes, place) | first
    return found


def asks_api(step: Step) -> bool:
    """Whether a rung, or a part of it, calls an API to fit or to answer."""
    from rung.methods.chain import asks_api as asks

    return any(asks(one.methods, one.base.start.model) for one in step.parts or (step,))
