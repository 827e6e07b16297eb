"""A job as it travels to another machine: names, options, keys and seconds as JSON.

The worker builds the rest from the task's folder. No Python object travels, so a worker runs only code that is installed there.
Nothing secret travels either: the task is read from a signed file in the store, and API keys from the worker's own environment.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rung.climbing import precision
from rung.climbing.measuring import rung_key
from rung.climbing.project import Project
from rung.errors import RungError
from rung.lm.engines import Engines
from rung.lm.this_machine import load_or_measure, threads
from rung.machine import Machine
from rung.planning import corrections, samples
from rung.planning.api_settings import settings
from rung.planning.corrections import PastEstimate
from rung.planning.steps import Step
from rung.store import opened
from rung.task.schema import Task
from rung.types import digest
from rung.visible import visible


@dataclass(frozen=True, slots=True)
class Order:
    """One job, for a worker."""

    folder: str
    """The task's, at the same path on every machine."""
    climb: str
    """Name of the file in the store that says what the climb is."""
    rung: str
    """The rung to measure, or the name of another job."""
    key: str
    """Of the measurement, of a trial's fit, or of documents. A worker that computes another one would do something else, and
    refuses."""
    attempt: str
    """Under which the worker reports."""
    raced: bool = False
    seconds: float | None = None
    """Left of the budget when it was sent; None without a limit. Clocks of machines differ, so no time of day is sent."""
    share: float = 1.0
    """Of the machine, that this job may use."""
    trial: dict[str, Any] | None = None
    """Of a trial: `methods`, their options as in rung.yaml, and `rows` to answer."""
    index: dict[str, int] | None = None
    """Of a part of an index: which `part` of how many."""

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Order:
        return Order(**json.loads(text))


def write_climb(project: Project) -> str:
    """Write what workers need to make the same plan: task, machine of the estimates, past errors, samples. Returns its name."""
    precision.keep(project.task, project.store, project.frozen_bf16, project.say)  # or each worker would choose for itself
    past = project.past or corrections.past_estimates(project.store.records(), project.machine)
    content = {
        "task": project.task.model_dump(mode="json"),
        "machine": asdict(project.machine),
        "past": [[asdict(one) for one in some] for some in past],
        "samples": {key: asdict(one) for key, one in project.samples.items()},
    }
    name = digest(content)
    project.store.write(f"jobs/{name}.json", content)
    return name


def rebuilt(order: Order, alone: Callable[[], AbstractContextManager[object]] = nullcontext) -> Project:
    """The driver's project on this machine. RungError if the store's file is missing or was not signed with the same key."""
    faults: list[str] = []
    store = opened(Path(order.folder), faults.append)
    content = store.read(f"jobs/{order.climb}.json")
    if not content:
        remedy = "Mount the folder at the same path on every machine, and have RUNG_KEY_FILE name the same key on all."
        raise RungError(" ".join(faults) or "the climb is not described here.", where=str(store.folder), remedy=remedy)
    task = Task.model_validate(content["task"])
    task._folder = Path(order.folder)
    whole = load_or_measure(usd_per_hour=task.machine_usd_per_hour)
    driver = Machine(**content["machine"])
    here = shared_machine(whole, order.share).freezing(precision.frozen_bf16(task, store, lambda: whole))
    own, others = ([PastEstimate(**one) for one in some] for some in content["past"])

    @contextmanager
    def undisturbed() -> Iterator[None]:
        with alone(), threads(whole.threads):
            yield

    def say(text: str) -> None:
        print(visible(text), flush=True)

    return Project(
        task,
        shared_engines=Engines(here, say, settings(task, store)),
        say=say,
        estimate_for=driver,
        past=(own, others),
        given_samples=samples.valid(content["samples"]),
        alone=undisturbed,
    )


def ordered(project: Project, order: Order) -> Step:
    """The step that is asked for. RungError if this machine would measure something else."""
    step = project.plan.named(order.rung)
    race = project.criteria.race() if order.raced else None
    if step.estimate is None or rung_key(project, step, race) != order.key:
        raise another(order)
    return step


def another(order: Order) -> RungError:
    """This machine would compute another key than the driver has."""
    return RungError(
        f"this machine would measure something else under the name {order.rung!r} than the driver asks for.",
        where=order.folder,
        remedy="Install the same versions of rung and of its plug-ins on all machines, and leave the task's files alone.",
    )


def shared_machine(machine: Machine, share: float) -> Machine:
    """A machine of which a job may use a share: fewer threads, and its part of the speed and of the price."""
    if share >= 1:
        return machine
    changes: dict[str, Any] = {
        "cores": max(1, int(machine.cores * share)),
        "threads": max(1, int(machine.threads * share)),
        "gflops": {name: speed * share for name, speed in machine.gflops.items()},
        "bandwidth_gbs": machine.bandwidth_gbs * share,
        "usd_per_hour": machine.usd_per_hour * share,
    }
    return replace(machine, **changes)
