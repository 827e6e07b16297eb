"""A fit by two workers of Ray Train, one of them killed in the middle, against the same fit by one undisturbed process.

    python benchmarks/resume_loss.py --quick

Pre-training of a small model on generated text, in float32. A worker is killed once a checkpoint is written; Ray Train starts
both anew, and the fit resumes. `--quick` takes fewer steps. Printed: the steps, and the largest difference of a trained weight.
Last line: the largest difference of a loss of a step, as the checkpoints have it.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import common
import psutil

from rung.climbing.executors.job import measure
from rung.climbing.executors.ray_train import measure_by
from rung.climbing.project import Project
from rung.store import Store
from rung.task import load_task
from rung.types import Record

TASK = """\
task: Say where it is.
kind: answer
data: {{examples: rows.jsonl, corpus: corpus.txt}}
base: fake
rungs: [pretrain]
methods: {{pretrain: {{parameters: 200000, vocabulary: 300, context: 64, batch: 8, steps: {steps}, measured: 500}}}}
goal: {{metric: exact_match, at_least: 0.9}}
"""
STEPS, QUICK_STEPS = 2000, 300
PLACES = ("here", "there", "nowhere", "upstairs", "outside")
WORKERS = 2
LOOK = 0.05
"""Seconds between two looks at the checkpoints."""


def prepared(folder: Path, steps: int) -> Path:
    """The task in a folder of its own."""
    drawn = random.Random(0)
    folder.mkdir()
    (folder / "rung.yaml").write_text(TASK.format(steps=steps), encoding="utf-8")
    rows = [{"input": f"thing {i}", "output": drawn.choice(PLACES)} for i in range(40)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    lines = [" ".join(f"{drawn.choice(PLACES)} is thing {drawn.randint(0, 99)}." for _ in range(12)) for _ in range(400)]
    (folder / "corpus.txt").write_text("\n\n".join(lines), encoding="utf-8")
    return folder


def fit_here(folder: Path, workers: int) -> None:
    """One fit, in a process of its own."""
    project = Project(load_task(folder))
    with project.store.locked():
        step = project.plan.alone
        if workers:
            measure_by(workers)(project, step, lambda *_: None)
        else:
            measure(project, step, float("inf"), lambda *_: None)


def fitted(folder: Path, workers: int, disturbed: bool) -> tuple[Record, dict[int, float]]:
    """The record of a fit, and the loss of each step as its checkpoints have it: with all places, but not to the very end.

    `disturbed`: a worker is killed once there is a checkpoint.
    """
    command = [sys.executable, __file__, "--fit", str(folder), str(workers)]
    killed, losses = 0, dict[int, float]()
    with subprocess.Popen(command) as process:
        while process.poll() is None:
            time.sleep(LOOK)
            losses |= checkpointed(folder)
            if disturbed and not killed and losses:
                killed = kill_worker(process.pid)
    if process.returncode:
        raise SystemExit(f"the fit with {workers} workers failed with exit code {process.returncode}")
    if disturbed and not killed:
        raise SystemExit("the fit ended before a worker could be killed: give it more steps")
    record = Store(folder).records()[-1]
    if record.status != "done":
        raise SystemExit(f"not measured: {record.reason}")
    return record, losses


def checkpointed(folder: Path) -> dict[int, float]:
    """The losses of an unfinished fit up to its last checkpoint."""
    states = sorted((folder / ".rung" / "work").rglob("checkpoint-*/trainer_state.json"), key=lambda path: len(str(path)))
    found: dict[int, float] = {}
    for path in states:
        with suppress(OSError, ValueError):  # it is being written, or deleted
            history = json.loads(path.read_text(encoding="utf-8"))["log_history"]
            found |= {entry["step"]: entry["loss"] for entry in history if "loss" in entry}
    return found


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
        folders = [prepared(Path(place) / name, QUICK_STEPS if quick else STEPS) for name in ("one", "two")]
        (one, before), (two, after) = fitted(folders[0], 0, False), fitted(folders[1], WORKERS, True)
        a, b = (weights(folder) for folder in folders)
        steps = sorted(before.keys() & after.keys())
        notes = [(record.provenance.notes or ())[-1] for record in (one, two)]
        if a.keys() != b.keys() or len(notes[0]["losses"]) != len(notes[1]["losses"]) or not steps:
            raise SystemExit("the two fits have other weights or steps, or none was seen")
        print(f"{len(notes[0]['losses'])} steps, the losses of {len(steps)} seen, the last of them {steps[-1]}")
        print(f"loss from {before[steps[0]]:.4f} to {before[steps[-1]]:.4f}; resumed: {notes[1].get('resumed', False)}")
        print(f"largest difference of a trained weight: {max(np.abs(a[name] - b[name]).max() for name in a):.1e}")
        most = max(abs(before[step] - after[step]) for step in steps)
        print(f"ratio={most:.1e} largest difference of a loss (limit: 1e-5)")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--fit"]:
        fit_here(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main(common.arguments(__doc__ or "").quick)
