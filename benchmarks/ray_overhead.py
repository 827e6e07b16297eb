"""A climb of eight rungs on Ray with two workers, and with one, against one in this process.

    python benchmarks/ray_overhead.py --quick

With two workers each has half of the machine's threads. Each climb runs in a process of its own, begins with an empty store, and
its time is its whole time, with the start of Ray. The time between the first rung's beginning and the last one's end is printed
as well. Last line: how many times as fast two workers are as one climb here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import common
from two_nodes import prepared

from rung.api.progress import Silent
from rung.climbing import climb as climbing
from rung.climbing.executors import on_ray
from rung.climbing.project import Project
from rung.task import load_task
from rung.types import Record

TASK = """\
task: Name the intent of the message.
kind: classify
data: {examples: rows.csv, input: text, output: intent}
rungs: [nearest, encoder, zero-shot, few-shot, calibrated, few-shot+calibrated, few-shot-similar, few-shot-similar+calibrated]
goal: {metric: accuracy, at_least: 0.97}
"""
LABELS = 8
WORKERS = {"here": 0, "one worker": 1, "two workers": 2}


class Clock(Silent):
    """Notes when rungs begin and end."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.failed: list[str] = []

    def began(self, rung: str) -> None:
        self.times.append(time.monotonic())

    def ended(self, record: Record) -> None:
        self.times.append(time.monotonic())
        self.failed += [f"{record.rung}: {record.reason}"] if record.status != "done" else []


def climb_here(folder: Path, workers: int) -> None:
    """One climb, in a process of its own; prints the seconds of its rungs, and those that failed."""
    clock = Clock()
    executor = {"on": on_ray.on_ray(workers)} if workers else {}
    climbing.climb(Project(load_task(folder)), clock, everything=True, **executor)
    print(json.dumps([clock.times[-1] - clock.times[0], clock.failed]))


def timed(folder: Path, workers: int) -> tuple[float, float]:
    """Seconds of a whole climb, and of its rungs alone."""
    env = {**os.environ, "RUNG_HOME": str(folder / "home")}
    command = [sys.executable, __file__, "--climb", str(folder), str(workers)]
    started = time.perf_counter()
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
    seconds = time.perf_counter() - started
    rungs, failed = json.loads(done.stdout.splitlines()[-1])
    if failed:
        raise SystemExit(f"not measured: {failed}")
    return seconds, rungs


def main(quick: bool) -> None:
    common.machine()
    found: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory(prefix="rung-overhead-") as place:
        for name, workers in WORKERS.items():
            folder = prepared(Path(place) / name.replace(" ", "-"), TASK, LABELS, 12 if quick else 40)
            found[name] = timed(folder, workers)
            print(f"{name}: {found[name][0]:.0f} s, rungs alone {found[name][1]:.0f} s", flush=True)
    here, one, two = found.values()
    print(f"one worker costs {one[0] / here[0] - 1:+.0%}, its rungs alone {one[1] / here[1] - 1:+.0%} (limit: +15%)")
    print(f"two workers, rungs alone: {here[1] / two[1]:.2f} times as fast as here")
    print(f"ratio={here[0] / two[0]:.2f} times as fast with two workers, threads divided (at least 1.6)")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--climb"]:
        climb_here(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main(common.arguments(__doc__ or "").quick)
