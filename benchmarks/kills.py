"""Kills a climb or an index at random moments, again and again, and compares the end with that of an undisturbed run.

    python benchmarks/kills.py --kills 200 --seed 0

Two counts are printed: ends that differ from the undisturbed one, and work that was done twice beyond what was under way when a
process was killed. Both must be 0. The task takes seconds: a base that answers with the last word, no model, no network.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rung.retrieve import knowledge
from rung.retrieve.index import index_config, update
from rung.retrieve.store import Allow
from rung.store import Store

TASK = """\
task: Say where it is.
kind: classify
data: {examples: rows.jsonl}
base: fake
rungs: [majority, nearest, zero-shot, few-shot]
goal: {metric: accuracy, at_least: 0.9}
"""
LABELS = ("here", "there", "nowhere")


@dataclass
class Count:
    """What came of the kills."""

    kills: int = 0
    different: int = 0
    twice: int = 0


def make(folder: Path) -> None:
    """A task of 240 rows that three labels are easily told apart in."""
    folder.mkdir(parents=True)
    (folder / "rung.yaml").write_text(TASK)
    rows = [{"input": f"row {i}: it is {LABELS[i % 3]}", "output": LABELS[i * 7 % 3]} for i in range(240)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "documents").mkdir()
    for i in range(12):
        (folder / "documents" / f"{i}.md").write_text(f"# Place {i}\n\nThe place is {LABELS[i % 3]}.\n" * 3)


def outcome(folder: Path) -> dict[str, Any]:
    """What a climb came to, without clocks: the decision, and each rung's status, score and answers."""
    store = Store(folder)
    last = store.read("decision.json")
    records = {one.rung: one for one in store.records()}
    answers = {
        name: {row: (found.output, found.error) for row, found in store.predictions(one.predictor).items()}
        for name, one in records.items()
    }
    scores = {name: (one.status, one.scores.per_row if one.scores else None, one.predictor) for name, one in records.items()}
    return {"verdict": last.get("decision", {}).get("verdict"), "scores": scores, "answers": answers, "test": last.get("test")}


def twice(folder: Path) -> int:
    """Rows answered and rungs measured more than once; what a kill cut off was never written, so it is not counted."""
    repeated = 0
    for path in (*folder.glob(".rung/predictions/*.jsonl"), folder / ".rung" / "records.jsonl"):
        lines = [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]] if path.exists() else []
        names = [line.get("id") or line["provenance"].get("key", line["rung"]) for line in lines]
        repeated += len(names) - len(set(names))
    return repeated


def climb(folder: Path) -> None:
    """One climb over every rung."""
    from rung.climb import climb as ladder
    from rung.climb.project import Project
    from rung.task import load_task

    ladder.climb(Project(load_task(folder), say=lambda text: None), Silent(), everything=True)


def index(folder: Path) -> None:
    """The documents read into an index by words."""
    store = knowledge.opened(str(folder / ".rung" / "index"), lambda text: None)
    update(folder / "documents", ("**/*.md",), store, None, index_config(None))


def indexed(folder: Path) -> dict[str, Any]:
    """What an index holds."""
    store = knowledge.opened(str(folder / ".rung" / "index"), lambda text: None)
    passages = [(change.path, change.digest, [one.text for one in change.passages]) for change, _ in store.contents()]
    found = store.lexical("place", 100, Allow())
    return {"passages": sorted(passages), "found": sorted(name for name, _ in found)}


class Silent:
    """A watcher that says nothing."""

    def planned(self, steps: object) -> None: ...
    def began(self, rung: str) -> None: ...
    def progress(self, rung: str, text: str, share: float) -> None: ...
    def ended(self, record: object) -> None: ...


def run(work: Callable[[Path], None], folder: Path, seconds: float | None) -> bool:
    """Some work in a process of its own, killed after so many seconds; whether it came to its end.

    The process is forked: to start Python and import everything would take longer than the work, and most kills would hit that.
    """
    child = os.fork()
    if not child:
        try:
            work(folder)
            os._exit(0)
        finally:
            os._exit(1)
    end = time.monotonic() + (float("inf") if seconds is None else seconds)
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            if status:
                raise RuntimeError(f"the work in {folder} failed by itself")
            return True
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


@dataclass(frozen=True)
class Kind:
    """What is killed, and what it should come to."""

    work: Callable[[Path], None]
    outcome: Callable[[Path], dict[str, Any]]


KINDS = {"climb": Kind(climb, outcome), "index": Kind(index, indexed)}


def kills(kind: Kind, place: Path, count: int, seed: int) -> Count:
    """Work killed `count` times in all, at most eight times before it may end; each end is compared with the undisturbed one."""
    chance, found = random.Random(seed), Count()
    quiet = place / "undisturbed"
    make(quiet)
    began = time.monotonic()
    run(kind.work, quiet, None)
    usual, right = time.monotonic() - began, kind.outcome(quiet)
    assert any(right.values()), "the undisturbed run came to nothing"
    while found.kills < count:
        folder = place / f"task{found.kills}"
        make(folder)
        for _ in range(8):
            if found.kills < count and not run(kind.work, folder, chance.uniform(0.0, usual)):
                found.kills += 1
        run(kind.work, folder, None)
        found.different += kind.outcome(folder) != right
        found.twice += twice(folder)
        shutil.rmtree(folder)
    return found


def main() -> None:
    """Kill, count and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    wrong = 0
    for name, kind in KINDS.items():
        with tempfile.TemporaryDirectory(prefix="kills-") as place:
            found = kills(kind, Path(place), given.kills // len(KINDS), given.seed)
        print(f"{name}: {found.kills} kills, {found.different} ends differ, {found.twice} pieces of work were done twice")
        wrong += found.different + found.twice
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
