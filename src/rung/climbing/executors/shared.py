"""Rungs shared out among the drivers of one store: each measures those that no other has, and reads the records of the rest."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

from rung.climbing.executors.job import Setting, Work
from rung.store import LeasedError, LeaseLostError
from rung.store.leased import LONGEST_WAIT, WAIT
from rung.types import Record


@dataclass(frozen=True, slots=True)
class Shared:
    """The executor of a climb that several drivers may make at the same time."""

    setting: Setting
    ahead: dict[str, Record] = field(default_factory=dict)
    """By rung, what this driver measured before its turn."""

    @property
    def concurrent(self) -> bool:
        return False

    def run(self, jobs: Iterable[Work]) -> Generator[Record]:
        waiting = list(jobs)
        for place, job in enumerate(waiting):
            yield self._obtained(job, waiting[place + 1 :])

    def beside(self) -> AbstractContextManager[object]:
        return nullcontext()

    def _obtained(self, job: Work, later: Sequence[Work]) -> Record:
        """A rung's record. While another driver measures it, this one measures later rungs, or waits."""
        wait = WAIT
        while (record := self._tried(job)) is None:
            if not self._measured_ahead(later):
                time.sleep(wait)
                wait = min(2 * wait, LONGEST_WAIT)
        return record

    def _tried(self, job: Work) -> Record | None:
        """A rung's record; None while another driver has it."""
        given, rung = self.setting, job.blank.rung
        if rung in self.ahead:
            return self.ahead[rung]
        key = job.begin(given.project, given.until)
        if isinstance(key, Record):
            return key
        try:
            with given.project.store.lease(f"rungs/{key}", None):
                given.watcher.began(rung)
                return given.here(job)
        except (LeasedError, LeaseLostError):
            return None

    def _measured_ahead(self, later: Sequence[Work]) -> bool:
        """Measure the next rung that is free; False if there is none. API calls are not made ahead: they may be needless."""
        for job in later:
            if job.blank.rung in self.ahead or (job.asks_api and not self.setting.everything):
                continue
            if time.monotonic() < self.setting.until and (record := self._tried(job)):
                self.ahead[job.blank.rung] = record
                return True
        return False


@contextmanager
def shared(setting: Setting) -> Iterator[Shared]:
    """An executor in this process that leaves to other drivers what they have taken."""
    yield Shared(setting)
