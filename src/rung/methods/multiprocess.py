"""A fit by several processes, one per GPU: the first runs the command, the others join in its trainings.

Each training is sent to the others as data, so they need no task and no store, print nothing and decide nothing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rung.errors import RungError
from rung.lm.engines import Engines
from rung.machine import Machine
from rung.methods.base import Family, Method, Run
from rung.predictor import Predictor
from rung.types import TrainData

TRAINS = {Family.ADAPTERS, Family.FULL, Family.PREFERENCE, Family.REWARD, Family.CONTINUED, Family.PRETRAINING}
"""Families whose fit is distributed. One process does the others, which are quick, call an API, or write shared files."""


@dataclass(frozen=True)
class FitJob:
    """A fit, as the leading process sends it to the others. All processes see the same files under its paths."""

    method: Method
    start: Predictor
    data: TrainData
    machine: Machine
    seed: int
    home: Path
    shared: Path | None


def lead(command: Callable[[], object]) -> None:
    """Run a command in the first of several processes, and join in its trainings in the others."""
    from rung.lm import processes

    processes.initialize()
    if not processes.is_main_process():
        while (job := processes.broadcast_job(None)) is not None:
            _follow(job)
        processes.shut_down()
        return
    try:
        command()
    finally:
        processes.broadcast_job(None)
        processes.shut_down()


def fit(method: Method, start: Predictor, data: TrainData, run: Run) -> Predictor:
    """`method.fit`, by all processes where there are several and the method trains a language model.

    RungError where another process failed.
    """
    from rung.lm import processes

    if not processes.is_distributed() or method.family not in TRAINS:
        return method.fit(start, data, run)
    processes.broadcast_job(FitJob(method, start, data, run.engines.machine, run.seed, run.home, run.shared))
    return _joined(lambda: method.fit(start, data, run))


def _follow(job: FitJob) -> None:
    """Take part in the leading process's fit. Files written here are thrown away; the leading process computes the rewards."""
    with tempfile.TemporaryDirectory() as place:
        engines = Engines(job.machine, say=lambda text: None)
        run = Run(Path(place), engines, job.seed, shared=job.shared, reward=lambda answer, row: 0.0, home=job.home)
        try:
            _joined(lambda: job.method.fit(job.start, job.data, run))
        except _KnownToLeaderError:
            return


class _KnownToLeaderError(Exception):
    """The leading process has the same error or has received this one, and handles it."""


def _joined(train: Callable[[], Predictor]) -> Predictor:
    """The training's result once all processes have finished."""
    from rung.lm import processes

    found, failed = None, None
    try:
        with processes.joint_training():
            found = train()
    except Exception as error:  # sent to the others before it is raised
        failed = error
    errors = processes.gather_errors(f"{type(failed).__name__}: {failed}" if failed else "")
    if not processes.is_main_process() and any(errors):
        raise _KnownToLeaderError
    if failed:
        raise failed
    if any(errors):
        number, text = next((i, text) for i, text in enumerate(errors) if text)
        raise RungError(f"process {number} of {len(errors)} failed. {text}")
    assert found is not None
    return found
