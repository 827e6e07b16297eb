"""Jobs done one after another in this process; nothing is begun before it is asked for."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

from rung.climbing.executors.job import Setting, Work
from rung.types import Record


@dataclass(frozen=True, slots=True)
class Local:
    """The executor of a climb on one machine."""

    setting: Setting

    @property
    def concurrent(self) -> bool:
        return False

    def run(self, jobs: Iterable[Work]) -> Generator[Record]:
        for job in jobs:
            self.setting.watcher.began(job.blank.rung)
            yield self.setting.here(job)

    def beside(self) -> AbstractContextManager[object]:
        return nullcontext()


@contextmanager
def local(setting: Setting) -> Iterator[Local]:
    """An executor in this process."""
    yield Local(setting)
