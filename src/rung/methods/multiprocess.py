"""A fit by several processes, one to a GPU: the first does the command, the others join in the trainings it comes to.

What is to be trained travels to the others as data, so they need no task, keep no store, print nothing and decide nothing.
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
"""Families whose fit is shared out. All else is quick, or calls an API, or writes what the task shares: one process does it."""


@dataclass(frozen=True)
class FitJob:
    """A fit, as the leading process tells the others. Paths are the leading one's: all see the same files."""

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

    processes.begin()
    if not processes.leads():
        while (order := processes.broadcast_job(None)) is not None:
            _follow(order)
        processes.end()
        return
    try:
        command()
    finally:
        processes.broadcast_job(None)
        processes.end()


def fit(method: Method, start: Predictor, data: TrainData, run: Run) -> Predictor:
    """`method.fit`, by all processes where there are several and the method trains a language model.

    RungError where another process failed.
    """
    from rung.lm import processes

    if not processes.several() or method.family not in TRAINS:
        return method.fit(start, data, run)
    processes.broadcast_job(FitJob(method, start, data, run.engines.machine, run.seed, run.home, run.shared))
    return _joined(lambda: method.fit(start, data, run))


def _follow(order: FitJob) -> None:
    """Do the leading process's fit beside it; what it writes of its own is thrown away, and it rewards nothing."""
    with tempfile.TemporaryDirectory() as place:
        engines = Engines(order.machine, say=lambda text: None)
        run = Run(Path(place), engines, order.seed, shared=order.shared, reward=lambda answer, row: 0.0, home=order.home)
        try:
            _joined(lambda: order.method.fit(order.start, order.data, run))
        except _Told:
            return


class _Told(Exception):
    """The leading process has the same error, or knows of this one's, and does what is to be done about it."""


def _joined(train: Callable[[], Predictor]) -> Predictor:
    """The training's outcome once all processes are through with it."""
    from rung.lm import processes

    found, failed = None, None
    try:
        with processes.joint():
            found = train()
    except Exception as error:  # told to the others before it goes on its way
        failed = error
    said = processes.outcomes(f"{type(failed).__name__}: {failed}" if failed else "")
    if not processes.leads() and any(said):
        raise _Told
    if failed:
        raise failed
    if any(said):
        number, text = next((i, text) for i, text in enumerate(said) if text)
        raise RungError(f"process {number} of {len(said)} failed. {text}")
    assert found is not None
    return found
