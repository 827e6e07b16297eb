"""Options of commands that can run on a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from rung.errors import RungError

if TYPE_CHECKING:
    from rung.climbing.executors import Open

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


def executor_of(on: str, parallel: int, gpus: float | None) -> Open:
    """Where rungs are measured. RungError for an unknown place, or an option that has no meaning here."""
    from rung.climbing.executors import local

    if on == "ray":
        from rung.climbing.executors.on_ray import on_ray

        return on_ray(parallel, gpus)
    if on:
        raise RungError(f"{on!r} is no place to run on.", where="--on", remedy="Write --on ray, or leave it out.")
    if parallel or gpus is not None:
        option = "--parallel" if parallel else "--gpus-per-rung"
        raise RungError("it has a meaning only on a cluster.", where=option, remedy="Add --on ray, or leave it out.")
    return local
