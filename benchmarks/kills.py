"""Kills climbs, fits and indexing at random moments, again and again, and compares the end with that of an undisturbed run.

    python benchmarks/kills.py --kills 200 --seed 0

What is killed (`--only NAME` for one of them):

    climb   a climb of four rungs that fit, save, answer and decide
    fit     pre-training of a tiny model, with a checkpoint every few steps
    index   an index in SQLite
    lance   an index in LanceDB (skipped, saying so, where the extra is not installed)
    beside  a climb of `rag` and, at the same time, another process that brings the same index up to date; both are killed

Then each is run on a disk that is too small for it, at random sizes, and again once there is room (`--full 0` for none; it takes
the right to mount a file system in memory, and is skipped, saying so, without).

Two counts are printed: ends that differ from the undisturbed one, and work that was done twice beyond what was under way when
a process was killed; for full disks also errors that do not say that the disk is full. All must be 0. Nothing needs a model or a
network: the base answers with the last word and the embedder counts letters.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.util
import json
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from rung import files
from rung.api.progress import Silent
from rung.climbing import climb as climbing
from rung.climbing.project import Project
from rung.errors import disk_full
from rung.lm.engines import Engines
from rung.machine import Machine
from rung.retrieve import knowledge
from rung.retrieve.index import Folder, index_config, update
from rung.retrieve.store import Allow, Vector
from rung.store import Store
from rung.task import load_task

TASK = """\
task: Say where it is.
kind: {kind}
data: {{examples: rows.jsonl{data}}}
base: fake
rungs: [{rungs}]
methods: {{pretrain: {{parameters: 30000, vocabulary: 300, context: 32, batch: 4, steps: 200, measured: 500}}}}
goal: {{metric: {metric}, at_least: 0.9}}
"""
LABELS = ("here", "there", "nowhere")
MACHINE = Machine(
    name="one core",
    cores=1,
    threads=1,
    memory_bytes=8 * 2**30,
    device="cpu",
    device_name="one core",
    gflops={"float32": 50.0},
    bandwidth_gbs=10.0,
    dtype="float32",
)
PAGE = 4096
TRIES = 8
"""Kills of one piece of work at most before it may come to its end."""


@dataclass
class Count:
    """What came of the kills."""

    kills: int = 0
    different: int = 0
    twice: int = 0
    unclear: int = 0
    """Errors on a full disk that do not say so."""


class Letters:
    """An embedder that counts letters."""

    max_length = 256

    def embed(self, texts: Sequence[str]) -> Vector:
        counts = np.array([[text.lower().count(chr(97 + i)) + 0.01 for i in range(26)] for text in texts], np.float32)
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)

    def count(self, text: str) -> int:
        return len(text.split())


class Toys(Engines):
    """Engines whose embedder counts letters."""

    def embedder(self, name: str) -> Any:
        return Letters()

    def find(self, name: str) -> Any:
        return SimpleNamespace(digest="letters")


# --- the tasks --------------------------------------------------------------------------------------------------------


def make(
    folder: Path,
    kind: str = "classify",
    rungs: str = "majority, nearest, zero-shot, few-shot",
    data: str = "",
    rows: int = 240,
) -> None:
    """A task of so many rows in which three labels are easily told apart, with twelve documents and a page of raw text."""
    folder.mkdir(parents=True)
    metric = "accuracy" if kind == "classify" else "token_f1"
    (folder / "rung.yaml").write_text(TASK.format(kind=kind, rungs=rungs, data=data, metric=metric))
    made = [{"input": f"row {i}: it is {LABELS[i % 3]}", "output": LABELS[i * 7 % 3]} for i in range(rows)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made))
    (folder / "documents").mkdir()
    for i in range(12):
        (folder / "documents" / f"{i}.md").write_text(f"# Place {i}\n\nThe place is {LABELS[i % 3]}.\n" * 3)
    words = random.Random(0).choices(("the", "place", "is", *LABELS, "and", "row", "of", "it"), k=4000)
    (folder / "corpus.txt").write_text("\n\n".join(" ".join(words[i : i + 40]) for i in range(0, len(words), 40)))


def make_fit(folder: Path) -> None:
    """One rung that trains a tiny model from nothing."""
    make(folder, "generate", "pretrain", ", corpus: [corpus.txt]", rows=60)


def make_rag(folder: Path) -> None:
    """One rung that indexes the documents."""
    make(folder, "answer", "rag", ", documents: [documents/]", rows=60)


# --- what is killed ---------------------------------------------------------------------------------------------------


def climb(folder: Path) -> None:
    """One climb over every rung."""
    engines = Toys(MACHINE, lambda text: None)
    climbing.climb(Project(load_task(folder), engines, say=lambda text: None, estimate_for=MACHINE), Silent(), everything=True)


def index(folder: Path) -> None:
    """The documents read into an index by words."""
    bring_up_to_date(str(folder / ".rung" / "index"), folder)


def lance(folder: Path) -> None:
    """The same in a LanceDB store."""
    os.environ["RUNG_HOME"] = str(folder / "home")  # where the lexical leg lies
    bring_up_to_date(f"lance://{folder / 'lance'}", folder)


def bring_up_to_date(place: str, folder: Path) -> None:
    update(Folder(folder / "documents", ("**/*.md",)), knowledge.opened(place, lambda text: None), None, index_config(None))


def update_rag(folder: Path) -> None:
    """The index of the `rag` rung brought up to date, as a question asked in the midst of a climb does it."""
    task, engines = load_task(folder), Toys(MACHINE, lambda text: None)
    texts = knowledge.documents(folder, task.data.documents, ())
    how = knowledge.config_of(engines, task.encoder)
    knowledge.bring_up_to_date(texts, knowledge.place(folder / ".rung"), engines, how)


# --- what it comes to -------------------------------------------------------------------------------------------------


def climbed(folder: Path) -> dict[str, Any]:
    """What a climb came to, without clocks: the decision, each rung's status, score and answers, and the fitted weights."""
    store = Store(folder)
    last = store.read("decision.json") or {}
    records = {one.rung: one for one in store.records()}
    answers = {
        name: {row: (found.output, found.error) for row, found in store.predictions(one.predictor).items()}
        for name, one in records.items()
    }
    scores = {name: (one.status, one.scores.per_row if one.scores else None, one.predictor) for name, one in records.items()}
    weights = sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in (folder / ".rung" / "fits").rglob("*.safetensors"))
    verdict = last.get("decision", {}).get("verdict")
    return {"verdict": verdict, "scores": scores, "answers": answers, "test": last.get("test"), "weights": weights}


def indexed(folder: Path) -> dict[str, Any]:
    """What an index holds."""
    return contents(str(folder / ".rung" / "index"))


def indexed_lance(folder: Path) -> dict[str, Any]:
    os.environ["RUNG_HOME"] = str(folder / "home")
    return contents(f"lance://{folder / 'lance'}")


def contents(place: str) -> dict[str, Any]:
    """The passages of an index and what a search by words finds in it."""
    store = knowledge.opened(place, lambda text: None)
    passages = [(change.path, change.digest, [one.text for one in change.passages]) for change, _ in store.contents()]
    found = store.lexical("place", 100, Allow())
    return {"passages": sorted(passages), "found": sorted(name for name, _ in found)}


def both(folder: Path) -> dict[str, Any]:
    return climbed(folder) | indexed(folder)


def repeated(folder: Path) -> int:
    """Rows answered and rungs measured more than once; what a kill cut off was never written, so it is not counted."""
    count = 0
    for path in (*folder.glob(".rung/predictions/*.jsonl"), folder / ".rung" / "records.jsonl"):
        lines = [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]] if path.exists() else []
        seen = Counter(line.get("id") or line["provenance"].get("key", line["rung"]) for line in lines)
        for name, times in seen.items():
            if times > 1:
                count += times - 1
                print(f"{path.name}: {name} {times} times", [line.get("status") for line in lines])
    return count


# --- killing ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """What is killed, on which task, and what it should come to."""

    work: tuple[Callable[[Path], None], ...]
    """Each in a process of its own, at the same time."""
    outcome: Callable[[Path], dict[str, Any]]
    make: Callable[[Path], None] = make
    needs: str = ""
    """A package without which it is skipped."""
    imports: tuple[str, ...] = ()
    """Imported before anything is forked, since it takes longer than the work."""


KINDS = {
    "climb": Kind((climb,), climbed),
    "fit": Kind((climb,), climbed, make_fit, imports=("torch", "rung.lm.training.train", "rung.lm.training.raw_text_steps")),
    "index": Kind((index,), indexed),
    "lance": Kind((lance,), indexed_lance, needs="lancedb"),
    "beside": Kind((climb, update_rag), both, make_rag),
}


def run(work: Sequence[Callable[[Path], None]], folder: Path, seconds: Sequence[float]) -> int:
    """Some work, each piece in a process of its own that is killed after so many seconds; how many were killed.

    Processes are forked from one that has imported everything: to start Python would take longer than the work, and most
    kills would hit that.
    """
    children = [CONTEXT.Process(target=one, args=(folder,)) for one in work]
    for child in children:
        child.start()
    began, killed = time.monotonic(), 0
    for child, limit in sorted(zip(children, seconds), key=lambda pair: pair[1]):
        child.join(None if limit == float("inf") else max(0.0, began + limit - time.monotonic()))
        if child.exitcode is None:
            child.kill()
            child.join()
            killed += 1
        elif child.exitcode:
            raise RuntimeError(f"the work in {folder} failed by itself")
    return killed


def asked(question: Callable[[Path], Any], folder: Path) -> Any:
    """The answer, as JSON has it, of a process of its own: a fork of one that has opened a store is not to be trusted."""
    near, far = CONTEXT.Pipe(duplex=False)
    child = CONTEXT.Process(target=_answer, args=(question, folder, far))
    child.start()
    far.close()
    answer = json.loads(near.recv_bytes())
    child.join()
    return answer


def _answer(question: Callable[[Path], Any], folder: Path, far: Any) -> None:
    far.send_bytes(json.dumps(question(folder), sort_keys=True).encode())


CONTEXT = multiprocessing.get_context("fork")


@dataclass
class Sound:
    """An undisturbed run: what it came to, and how long each piece of work took."""

    right: Any
    seconds: list[float] = field(default_factory=list)


def undisturbed(kind: Kind, folder: Path) -> Sound:
    for module in kind.imports:
        importlib.import_module(module)
    kind.make(folder)
    found = Sound(None)
    for work in kind.work:
        began = time.monotonic()
        run([work], folder, [float("inf")])
        found.seconds.append(time.monotonic() - began)
    found.right = asked(kind.outcome, folder)
    assert all(found.right[name] for name in ("answers", "passages") if name in found.right), "it came to nothing"
    return found


def kills(kind: Kind, place: Path, count: int, seed: int) -> Count:
    """Work killed `count` times in all, at most eight times before it may end; each end is compared with the undisturbed one."""
    chance, found = random.Random(seed), Count()
    sound = undisturbed(kind, place / "undisturbed")
    while found.kills < count:
        folder = place / f"task{found.kills}"
        kind.make(folder)
        for _ in range(TRIES):
            if found.kills < count:
                found.kills += run(kind.work, folder, [chance.uniform(0.0, one) for one in sound.seconds])
        run(kind.work, folder, [float("inf")] * len(kind.work))
        found.different += asked(kind.outcome, folder) != sound.right
        found.twice += repeated(folder)
        shutil.rmtree(folder)
    return found


# --- full disks -------------------------------------------------------------------------------------------------------


@contextmanager
def small_disk(at: Path, size: int) -> Iterator[None]:
    """A file system in memory of so many bytes. OSError where this user may not mount one."""
    at.mkdir(parents=True)
    _mount("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(at))
    try:
        yield
    finally:
        _mount("umount", str(at))


def _mount(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(done.stderr.strip())


def may_mount() -> bool:
    with tempfile.TemporaryDirectory(prefix="kills-") as place:
        try:
            with small_disk(Path(place) / "disk", 2**20):
                return True
        except OSError:
            return False


def reporting(work: Callable[[Path], None], folder: Path) -> None:
    """Some work whose errors go into a file beside the disk, since the disk may be full."""
    try:
        work(folder)
    except Exception as error:
        if files.is_full(error):  # as the command line does
            error = disk_full(folder, error)
        (folder.parents[1] / "error").write_text(f"{type(error).__name__}: {error}")


def full(kind: Kind, place: Path, count: int, seed: int) -> Count:
    """Work on a disk that fills up `count` times, then again on one with room; each end is compared with the undisturbed one."""
    chance, found = random.Random(seed), Count()
    sound = undisturbed(kind, place / "undisturbed")
    kind.make(place / "bare")
    bare, whole = size_of(place / "bare"), size_of(place / "undisturbed")
    for number in range(count):
        outer = place / f"disk{number}"
        outer.mkdir()
        with small_disk(outer / "disk", bare + round(chance.uniform(0.02, 1.2) * (whole - bare))):
            folder, said = outer / "disk" / "task", outer / "error"
            kind.make(folder)
            run([partial(reporting, work) for work in kind.work], folder, [float("inf")] * len(kind.work))
            found.kills += said.exists()
            if said.exists() and "disk is full" not in said.read_text():
                print(f"  {said.read_text()[:300]}")
                found.unclear += 1
            _mount("mount", "-o", "remount,size=1g", str(outer / "disk"))
            run(kind.work, folder, [float("inf")] * len(kind.work))
            found.different += asked(kind.outcome, folder) != sound.right
            found.twice += repeated(folder)
        shutil.rmtree(outer)
    return found


def size_of(folder: Path) -> int:
    """Bytes of its files in whole pages, as a file system in memory counts them."""
    return sum(-(-path.lstat().st_size // PAGE) * PAGE + PAGE for path in folder.rglob("*"))


def main() -> None:
    """Kill, count and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--full", type=int, default=20, help="Full disks of each.")
    parser.add_argument("--only", choices=KINDS)
    given = parser.parse_args()
    skipped = [name for name, kind in KINDS.items() if kind.needs and not importlib.util.find_spec(kind.needs)]
    for name in skipped:
        print(f"{name}: skipped, {KINDS[name].needs} is not installed")
    chosen = [given.only] if given.only else [name for name in KINDS if name not in skipped]
    wrong = 0
    for name in chosen:
        with tempfile.TemporaryDirectory(prefix="kills-") as place:
            found = kills(KINDS[name], Path(place), given.kills // len(chosen), given.seed)
        print(
            f"{name}: {found.kills} kills, {found.different} ends differ, {found.twice} pieces of work were done twice",
            flush=True,
        )
        wrong += found.different + found.twice
    if given.full and not may_mount():
        print("full disks: skipped, this user may not mount a file system")
        given.full = 0
    for name in chosen if given.full else ():
        with tempfile.TemporaryDirectory(prefix="kills-") as place:
            found = full(KINDS[name], Path(place), given.full, given.seed)
        print(
            f"{name}: {given.full} small disks, {found.kills} of them full, {found.different} ends differ, "
            f"{found.twice} pieces of work were done twice, {found.unclear} errors do not say that the disk is full",
            flush=True,
        )
        wrong += found.different + found.twice + found.unclear
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
