"""The executor or the trainer that is asked for by name, on the command line or in Python."""

from __future__ import annotations

from collections.abc import Callable

from rung.climbing.executors.job import Open, Spelled, measure
from rung.climbing.executors.local import local
from rung.climbing.fit import Progress
from rung.climbing.project import Project
from rung.errors import RungError
from rung.planning.steps import Step
from rung.types import Record


def executor_of(on: str, parallel: int, gpus: float | None, spelled: Spelled) -> Open:
    """Where jobs are done. RungError for an unknown place, or an option that has no meaning here."""
    _refuse_unknown(on, spelled)
    for option, value in (("parallel", float(parallel)), ("gpus_per_rung", gpus or 0.0)):
        if value < 0:
            raise RungError(f"must be 0 or more, got {value:g}.", where=spelled(option))
    if on:
        from rung.climbing.executors.on_ray import on_ray

        return on_ray(parallel, gpus, spelled)
    if parallel or gpus is not None:
        option = spelled("parallel" if parallel else "gpus_per_rung")
        raise RungError("it has a meaning only on a cluster.", where=option, remedy=f"Add {spelled('on')} ray, or leave it out.")
    return local


def trainer_of(on: str, workers: int, spelled: Spelled) -> Callable[[Project, Step, Progress], Record]:
    """How one rung is fitted and measured. RungError for an unknown place, or one option of the two."""
    _refuse_unknown(on, spelled)
    if on and workers > 0:
        from rung.climbing.executors.ray_train import measure_by

        return measure_by(workers, spelled)
    if on or workers:
        remedy = f"Give both {spelled('on')} ray and {spelled('workers')} of 1 or more, or leave both out."
        where = spelled("workers" if workers else "on")
        raise RungError("a fit on a cluster needs both options.", where=where, remedy=remedy)
    return lambda project, step, progress: measure(project, step, float("inf"), progress)


def _refuse_unknown(on: str, spelled: Spelled) -> None:
    if on not in ("", "ray"):
        raise RungError(f"unknown executor {on!r}; use ray.", where=spelled("on"))
