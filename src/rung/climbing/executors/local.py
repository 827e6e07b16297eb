"""Rungs measured one after another in this process; nothing is begun before it is asked for."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial

from rung.climbing.executors.job import Job, Setting
from rung.climbing.measuring import measure
from rung.types import Record


@dataclass(frozen=True, slots=True)
class Local:
    """The executor of a climb on one machine."""

    setting: Setting

    def run(self, jobs: Iterable[Job]) -> Generator[Record]:
        given = self.setting
        for job in jobs:
            given.watcher.began(job.step.rung)
            progress = partial(given.watcher.progress, job.step.rung)
            yield measure(given.project, job.step, given.until, progress, job.race)

    def beside(self) -> AbstractContextManager[object]:
        return nullcontext()


@contextmanager
def local(setting: Setting) -> Iterator[Local]:
    """An executor in this process."""
    yield Local(setting)
