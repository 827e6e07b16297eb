"""A fit by two workers of Ray Train, one of them killed in the middle, against the same fit by one undisturbed process.

    python benchmarks/resume_loss.py --quick

LoRA on the default model. A worker is killed once a checkpoint is written; Ray Train starts both anew, and the fit resumes.
`--quick` takes fewer rows. Printed: the steps, the losses of both (the record has them to four places), and the largest
difference of a trained weight. Last line: the largest difference of a loss.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import common
import psutil
from two_nodes import prepared

from rung.climbing.executors.ray_train import measure_by
from rung.climbing.measuring import measure
from rung.climbing.project import Project
from rung.store import Store
from rung.task import load_task
from rung.types import Record

TASK = """\
task: Name the intent of the message.
kind: classify
data: {examples: rows.csv, input: text, output: intent}
rungs: [lora]
methods: {lora: {epochs: 2, batch: 4}}
goal: {metric: accuracy, at_least: 0.9}
"""
LABELS = 4
WORKERS = 2
LOOK = 0.05
"""Seconds between two looks at the checkpoints."""


def fit_here(folder: Path, workers: int) -> None:
    """One fit, in a process of its own."""
    project = Project(load_task(folder))
    with project.store.locked():
        step = project.plan.alone
        if workers:
            measure_by(workers)(project, step, lambda *_: None)
        else:
            measure(project, step, float("inf"), lambda *_: None)


def fitted(folder: Path, workers: int, disturbed: bool) -> Record:
    """The record of a fit; `disturbed`: a worker is killed once there is a checkpoint."""
    env = {**os.environ, "RUNG_HOME": str(folder / "home")}
    command = [sys.executable, __file__, "--fit", str(folder), str(workers)]
    killed = 0
    with subprocess.Popen(command, env=env) as process:
        while process.poll() is None:
            time.sleep(LOOK)
            if disturbed and not killed and any((folder / ".rung" / "work").glob("*/work/checkpoint-*/trainer_state.json")):
                killed = kill_worker(process.pid)
    if process.returncode:
        raise SystemExit(f"the fit with {workers} workers failed with exit code {process.returncode}")
    if disturbed and not killed:
        raise SystemExit("the fit ended before a worker could be killed: give it more rows")
    record = Store(folder).records()[-1]
    if record.status != "done":
        raise SystemExit(f"not measured: {record.reason}")
    return record


def kill_worker(driver: int) -> int:
    """Kill one of Ray Train's workers below a driver; its number, 0 if there is none."""
    for process in psutil.Process(driver).children(recursive=True):
        try:
            if "TrainWorker" in " ".join(process.cmdline()):
                process.kill()
                print(f"killed worker {process.pid}", flush=True)
                return process.pid
        except psutil.Error:
            continue
    return 0


def weights(folder: Path) -> dict[str, object]:
    """The trained tensors of the only fit."""
    from safetensors.numpy import load_file

    found = {}
    for path in sorted((folder / ".rung" / "fits").rglob("*.safetensors")):
        found |= load_file(path)
    return found


def main(quick: bool) -> None:
    import numpy as np

    common.machine()
    with tempfile.TemporaryDirectory(prefix="rung-resume-") as place:
        folders = [prepared(Path(place) / name, TASK, LABELS, 16 if quick else 60) for name in ("one", "two")]
        one, two = fitted(folders[0], 0, False), fitted(folders[1], WORKERS, True)
        losses = [np.array((record.provenance.notes or ())[-1]["losses"]) for record in (one, two)]
        print("one process:       ", *losses[0])
        print("two, one was killed:", *losses[1])
        a, b = (weights(folder) for folder in folders)
        if a.keys() != b.keys() or len(losses[0]) != len(losses[1]):
            raise SystemExit("the two fits have other weights or steps")
        print(f"{len(losses[0])} steps; largest difference of a weight: {max(np.abs(a[name] - b[name]).max() for name in a):.1e}")
        told = [(record.provenance.notes or ())[-1].get("resumed", False) for record in (one, two)]
        print(f"resumed: {told[1]}; accuracy {one.scores and one.scores.overall} and {two.scores and two.scores.overall}")
        print(f"ratio={np.abs(losses[0] - losses[1]).max():.1e} largest difference of a loss (limit: 1e-5)")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--fit"]:
        fit_here(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main(common.arguments(__doc__ or "").quick)
