"""Options of commands that can run on a cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rung.climbing.executors import Open
    from rung.climbing.fit import Progress
    from rung.climbing.project import Project
    from rung.planning.steps import Step
    from rung.types import Record

On = Annotated[
    str, typer.Option("--on", metavar="ray", help="Fit and measure on the Ray cluster at RAY_ADDRESS, or on one of this machine.")
]
Parallel = Annotated[int, typer.Option("--parallel", min=0, help="With --on ray: jobs at once; by default one for each machine.")]
Gpus = Annotated[
    float | None,
    typer.Option("--gpus-per-rung", min=0, help="With --on ray: GPUs for each job; by default 1 if this machine has one."),
]
Workers = Annotated[
    int, typer.Option("--workers", min=0, help="With --on ray: processes that fit the rung together, one for each GPU.")
]


def spelled(option: str) -> str:
    """An option as it is typed."""
    return f"--{option.replace('_', '-')}"


def executor_of(on: str, parallel: int, gpus: float | None) -> Open:
    """Where jobs are done; see `choose.executor_of`."""
    from rung.climbing.executors import choose

    return choose.executor_of(on, parallel, gpus, spelled)


def trainer_of(on: str, workers: int) -> Callable[[Project, Step, Progress], Record]:
    """How `rung fit` measures its rung; see `choose.trainer_of`."""
    from rung.climbing.executors import choose

    return choose.trainer_of(on, workers, spelled)
