"""Rungs shared out among the drivers of one store: each measures those that no other has, and reads the records of the rest."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial

from rung.climbing.executors.job import Job, Setting, asks_api
from rung.climbing.measuring import measure, record_or_key
from rung.store import LeasedError, LeaseLostError
from rung.store.leased import LONGEST_WAIT, WAIT
from rung.types import Record


@dataclass(frozen=True, slots=True)
class Shared:
    """The executor of a climb that several drivers may make at the same time."""

    setting: Setting
    ahead: dict[str, Record] = field(default_factory=dict)
    """By rung, what this driver measured before its turn."""

    def run(self, jobs: Iterable[Job]) -> Generator[Record]:
        waiting = list(jobs)
        for place, job in enumerate(waiting):
            yield self._obtained(job, waiting[place + 1 :])

    def beside(self) -> AbstractContextManager[object]:
        return nullcontext()

    def _obtained(self, job: Job, later: Sequence[Job]) -> Record:
        """A rung's record. While another driver measures it, this one measures later rungs, or waits."""
        wait = WAIT
        while (record := self._tried(job)) is None:
            if not self._measured_ahead(later):
                time.sleep(wait)
                wait = min(2 * wait, LONGEST_WAIT)
        return record

    def _tried(self, job: Job) -> Record | None:
        """A rung's record; None while another driver has it."""
        given, step = self.setting, job.step
        if step.rung in self.ahead:
            return self.ahead[step.rung]
        key = record_or_key(given.project, step, given.until, job.race)
        if isinstance(key, Record):
            return key
        try:
            with given.project.store.lease(f"rungs/{key}", None):
                given.watcher.began(step.rung)
                return measure(given.project, step, given.until, partial(given.watcher.progress, step.rung), job.race)
        except (LeasedError, LeaseLostError):
            return None

    def _measured_ahead(self, later: Sequence[Job]) -> bool:
        """Measure the next rung that is free; False if there is none. API calls are not made ahead: they may be needless."""
        for job in later:
            if job.step.rung in self.ahead or (asks_api(job.step) and not self.setting.everything):
                continue
            if time.monotonic() < self.setting.until and (record := self._tried(job)):
                self.ahead[job.step.rung] = record
                return True
        return False


@contextmanager
def shared(setting: Setting) -> Iterator[Shared]:
    """An executor in this process that leaves to other drivers what they have taken."""
    yield Shared(setting)
