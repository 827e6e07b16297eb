"""An executor in place of a cluster."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

from rung.climbing.executors import Setting, order, ray_worker
from rung.climbing.executors.job import Work
from rung.store import record
from rung.types import Record


@contextmanager
def elsewhere(setting: Setting) -> Iterator[Any]:
    """In place of a cluster: each job travels as JSON to a project of its own, the last first."""
    project, climb = setting.project, order.write_climb(setting.project)

    def done(job: Work) -> Record:
        if isinstance(key := job.begin(project, setting.until), Record):
            return key
        sent = order.Order(str(project.task.folder), climb, job.blank.rung, key, "attempt", **job.sent())
        found = json.loads(ray_worker.run(order.Order.from_json(sent.to_json()), lambda *_: None, "there"))
        measured = record(found["record"])
        if found["store"]:
            job.keep(project, measured)
        return measured

    def run(jobs: Iterable[Work]) -> Iterator[Record]:
        listed = list(jobs)
        found = {job.blank.rung: done(job) for job in reversed(listed)}
        yield from (found[job.blank.rung] for job in listed)

    yield SimpleNamespace(run=run, concurrent=True, beside=nullcontext)


@contextmanager
def unseen(setting: Setting, part: str) -> Iterator[Any]:
    """A cluster of which the driver does not see a folder of the store: `fits` or `predictions`."""
    with elsewhere(setting) as executor:

        def run(jobs: Iterable[Work]) -> Iterator[Record]:
            found = list(executor.run(jobs))
            shutil.rmtree(setting.project.store.folder / part)
            yield from found

        yield SimpleNamespace(run=run, concurrent=True, beside=nullcontext)
