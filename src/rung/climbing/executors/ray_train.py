"""One rung fitted by several workers of a Ray cluster: Ray Train starts them, and starts them anew if one is lost.

They run the training that `accelerate launch` would start (`rung.methods.multiprocess`): the first measures the rung, the
others join in its trainings. Checkpoints are rung's own, in the store, so a lost worker costs the steps since the last one.
"""

from __future__ import annotations

import math
import secrets
import shutil
from collections.abc import Callable
from typing import Any

from rung.climbing import measuring
from rung.climbing.cascading import missing_fits
from rung.climbing.executors import job, ray_cluster
from rung.climbing.executors.job import Spelled
from rung.climbing.executors.order import Order, ordered, rebuilt, write_climb
from rung.climbing.executors.placing import slots
from rung.climbing.fit import Progress, unseen
from rung.climbing.project import Project
from rung.errors import RungError
from rung.planning.steps import Step
from rung.types import Record

LOSSES = 3
"""Times that workers may be lost before the fit is given up; what it has reached is stored."""
FOLDER = "ray"
"""Folders in the store for what Ray Train writes begin so; each fit has its own, which goes at its end."""


def measure_by(workers: int, spelled: Spelled = str) -> Callable[[Project, Step, Progress], Record]:
    """What fits and measures a rung with so many workers; it raises RungError if they are lost too often.

    `spelled`: how errors name the options.
    """

    def measure(project: Project, step: Step, progress: Progress) -> Record:
        found = measuring.record_or_key(project, step, math.inf)
        if isinstance(found, Record):
            if found.status != "done" or not missing_fits(project, step):
                return found
            found = found.provenance.key or ""  # a deleted fit is made again, as without a cluster
        progress(f"fitting with {workers} workers", 0.0)
        with ray_cluster.connected(spelled) as ray:
            if not (nodes := ray_cluster.nodes(ray)):
                raise RungError(
                    "no machine of the cluster is alive.", where=spelled("on"), remedy="Start one; see docs/scaling.md."
                )
            share = 1 / slots(nodes, workers)
            climb = write_climb(project)
            order = Order(str(project.task.folder), climb, step.rung, found, "", False, None, share)
            cpus = max(1, math.floor(min(node.cpus for node in nodes) * share))
            _train(order, workers, cpus, project)
        measured = [one for one in project.store.records() if one.provenance.key == found]
        if not measured:
            raise RungError("the workers ended without a measurement.", where=step.rung, remedy="Run it again; it resumes.")
        if measured[-1].status == "done" and (missing := missing_fits(project, step)):
            what = f"workers have fitted {step.rung}, and this machine does not see the fit"
            raise unseen(project.store, what, f"fits/{missing[0]}")
        return measured[-1]

    return measure


def _train(order: Order, workers: int, cpus: int, project: Project) -> None:
    """Run `work` on so many workers, until it has ended or was lost too often."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    gpu, place = project.machine.device == "cuda", project.store.folder / f"{FOLDER}-{secrets.token_hex(8)}"
    trainer = TorchTrainer(
        work,
        train_loop_config={"order": order.to_json()},
        torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if gpu else "gloo"),
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpu, resources_per_worker={"CPU": cpus}),
        run_config=RunConfig(name=order.key, storage_path=str(place), failure_config=FailureConfig(max_failures=LOSSES)),
    )
    try:
        trainer.fit()
    except Exception as error:
        why = " ".join(str(error).split())[:500]
        raise RungError(
            f"the workers failed: {type(error).__name__}: {why}",
            where=order.rung,
            remedy="Run it again: it resumes from the last checkpoint.",
        ) from error
    finally:
        shutil.rmtree(place, ignore_errors=True)


def work(config: dict[str, Any]) -> None:
    """The part of one worker."""
    from rung.methods import multiprocess

    order = Order.from_json(config["order"])
    multiprocess.lead(lambda: _measure(order))


def _measure(order: Order) -> None:
    """Measure the rung and make its missing fits, in the first worker; the store has its record then."""
    project = rebuilt(order)
    job.measure(project, ordered(project, order), math.inf, lambda *_: None)
