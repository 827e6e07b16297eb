"""Options of commands that can run on a cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from rung.errors import RungError

if TYPE_CHECKING:
    from rung.climbing.executors import Open
    from rung.climbing.fit import Progress
    from rung.climbing.project import Project
    from rung.planning.steps import Step
    from rung.types import Record

On = Annotated[
    str, typer.Option("--on", metavar="ray", help="Measure rungs on the Ray cluster at RAY_ADDRESS, or on one of this machine.")
]
Parallel = Annotated[
    int, typer.Option("--parallel", min=0, help="With --on ray: rungs at once; by default one for each machine.")
]
Gpus = Annotated[
    float | None,
    typer.Option("--gpus-per-rung", min=0, help="With --on ray: GPUs for each rung; by default 1 if this machine has one."),
]
Workers = Annotated[
    int, typer.Option("--workers", min=0, help="With --on ray: processes that fit the rung together, one for each GPU.")
]


def executor_of(on: str, parallel: int, gpus: float | None) -> Open:
    """Where rungs are measured. RungError for an unknown place, or an option that has no meaning here."""
    from rung.climbing.executors import local

    if on == "ray":
        from rung.climbing.executors.on_ray import on_ray

        return on_ray(parallel, gpus)
    _refuse_unknown(on)
    if parallel or gpus is not None:
        option = "--parallel" if parallel else "--gpus-per-rung"
        raise RungError("it has a meaning only on a cluster.", where=option, remedy="Add --on ray, or leave it out.")
    return local


def trainer_of(on: str, workers: int) -> Callable[[Project, Step, Progress], Record]:
    """How `rung fit` measures its rung. RungError for an unknown place, or one option of the two."""
    from rung.climbing.measuring import measure

    if on == "ray" and workers:
        from rung.climbing.executors.ray_train import measure_by

        return measure_by(workers)
    _refuse_unknown("" if on == "ray" else on)
    if on or workers:
        remedy = "Write --on ray --workers N, or leave both out."
        raise RungError("a fit on a cluster needs both options.", where="--workers" if workers else "--on", remedy=remedy)
    return lambda project, step, progress: measure(project, step, float("inf"), progress)


def _refuse_unknown(on: str) -> None:
    if on:
        raise RungError(f"{on!r} is no place to run on.", where="--on", remedy="Write --on ray, or leave it out.")
