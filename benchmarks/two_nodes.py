"""A climb on two Ray nodes, undisturbed, with one killed in the middle, and with its cable cut, against one in this process.

    python benchmarks/two_nodes.py --quick

Same decision, same records but for times and machine, no rung recorded and no row answered twice. The nodes are two network
namespaces of this machine (`tests/namespaces.py`), so it takes Linux and the right to make them. `--quick` takes fewer rows and
leaves out the undisturbed climb. Last line: rungs whose record differs or that were done twice, over all climbs; it must be 0.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import common

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
import namespaces

from rung.api.progress import Silent
from rung.climbing import climb as climbing
from rung.climbing.executors import on_ray
from rung.climbing.project import Project
from rung.hardware import fingerprint
from rung.home import home
from rung.lm.this_machine import load_or_measure
from rung.store import Store
from rung.task import load_task
from rung.types import Record

TASK = """\
task: Name the intent of the message.
kind: classify
data: {examples: rows.csv, input: text, output: intent}
rungs: [majority, nearest, encoder, zero-shot, few-shot]
goal: {metric: accuracy, at_least: 0.97}
"""
LABELS, ROWS, QUICK_ROWS = 8, 40, 14
"""Labels of banking77, and rows of each."""
MIDDLE = 2.0
"""Seconds after which a rung is in its middle: its worker is up and at work."""
LONGEST = 300.0
"""Seconds that one climb may take."""


class Printing(Silent):
    """Prints what happens, for the process that disturbs the climb."""

    def began(self, rung: str) -> None:
        print(json.dumps({"began": rung}), flush=True)

    def progress(self, rung: str, text: str, share: float) -> None:
        print(json.dumps({"at": rung, "text": text}), flush=True)

    def ended(self, record: Record) -> None:
        print(json.dumps({"ended": record.rung}), flush=True)


def climb_here(folder: Path, on: str) -> None:
    """One climb, in a process of its own."""
    executor = {"on": on_ray.on_ray()} if on == "ray" else {}
    result = climbing.climb(Project(load_task(folder)), Printing(), everything=True, **executor)
    decided = {"verdict": result.decision.verdict, "chosen": result.decision.chosen}
    kept = {"decision": decided, "records": [asdict(one) for one in result.records]}
    (folder / "result.json").write_text(json.dumps(kept, default=str), encoding="utf-8")


@dataclass
class Run:
    """What a climb came to."""

    decision: dict[str, str]
    records: list[Any]
    seconds: float
    twice: int
    """Records beyond one for a key, and rows answered beyond one for a Predictor."""
    redone: list[str] = field(default_factory=list)
    """What the driver said of jobs that it sent again."""
    after: float = 0.0
    """Seconds from the disturbance to the end."""


def run(folder: Path, on: str, nodes: namespaces.Nodes | None, disturb: Callable[[], None] | None) -> Run:
    """A climb with its own home, so that it learns nothing from another one's times; disturbed once two rungs are at work."""
    command = [sys.executable, __file__, "--climb", str(folder), on]
    env = {**(nodes.env if nodes else os.environ), "RUNG_HOME": str(folder / "home")}
    started, running, done, at, redone = time.monotonic(), dict[str, float](), 0.0, 0.0, list[str]()
    with subprocess.Popen(
        nodes.inside("a", command) if nodes else command, env=env, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        for line in process.stdout:
            print(f"  {time.monotonic() - started:6.1f} {line.rstrip()}", flush=True)
            with suppress(ValueError):
                said, now = json.loads(line), time.monotonic()
                if "at" in said and said["text"]:
                    running.setdefault(said["at"], now)
                    redone += [said["text"]] if "run again" in said["text"] else []
                running.pop(said.get("ended", ""), None)
                busy = sum(now - since > MIDDLE for since in running.values())
                if disturb and not at and busy >= 2:
                    disturb()
                    at = now
                    print(f"  {now - started:6.1f} disturbed", flush=True)
    done = time.monotonic()
    if process.returncode:
        raise SystemExit(f"the climb on {on} failed with exit code {process.returncode}")
    if disturb and not redone:
        raise SystemExit("nothing ran on the disturbed node: run it again, or raise ROWS")
    found = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return Run(found["decision"], found["records"], done - started, twice(folder), redone, done - at if at else 0.0)


def twice(folder: Path) -> int:
    """Records beyond one for a key, and stored answers beyond one for a row of one Predictor."""
    store = Store(folder)
    keys = Counter(one.provenance.key for one in store.records())
    rows = 0
    for path in (store.folder / "predictions").glob("*.jsonl"):
        ids = Counter(json.loads(line)["id"] for line in path.read_text(encoding="utf-8").splitlines())
        rows += sum(count - 1 for count in ids.values())
    return sum(count - 1 for count in keys.values()) + rows


def lasting(record: dict[str, Any]) -> dict[str, Any]:
    """What of a record depends neither on the clock nor on the machine."""
    told = record["provenance"]
    kept = {name: record[name] for name in ("rung", "status", "reason", "scores", "predictor", "selection")}
    names = ("key", "fits", "base", "train", "dev", "test", "options", "seed", "failed", "race")
    return {**kept, **{name: told.get(name) for name in names}}


def prepared(folder: Path, task: str = TASK, labels: int = LABELS, rows_each: int = ROWS) -> Path:
    """A task in a folder of its own, with a home that has this machine's speed, the models, and no earlier times."""
    rows = [row for some in common.by_label()[:labels] for row in some[:rows_each]]
    common.write_task(folder, task, {"rows": rows})
    place = folder / "home"
    place.mkdir()
    for path in home().iterdir():
        if not path.name.startswith(("quotes-", "machine-")):
            (place / path.name).symlink_to(path)
    (place / f"machine-{fingerprint()}.json").write_text(json.dumps(asdict(MACHINE)), encoding="utf-8")
    return folder


MACHINE = load_or_measure()


def main(quick: bool) -> None:
    if not namespaces.possible():
        raise SystemExit("this machine does not let us make network namespaces: run it as root on Linux")
    print(f"machine: {MACHINE.name}")
    wrong, rows = 0, QUICK_ROWS if quick else ROWS
    with tempfile.TemporaryDirectory(prefix="rung-two-nodes-") as place:
        here = run(prepared(Path(place) / "here", rows_each=rows), "here", None, None)
        print(f"here: {here.decision}, {here.seconds:.0f} s")
        kinds = ("killed", "cut") if quick else ("undisturbed", "killed", "cut")
        for kind in kinds:
            with namespaces.made() as nodes:
                acts = {"killed": lambda nodes=nodes: nodes.kill("b"), "cut": nodes.cut}
                found = run(prepared(Path(place) / kind, rows_each=rows), "ray", nodes, acts.get(kind))
            differ = [a["rung"] for a, b in zip(here.records, found.records) if lasting(a) != lasting(b)]
            count = len(differ) + abs(len(here.records) - len(found.records)) + found.twice + (here.decision != found.decision)
            wrong += count
            end = f", {found.after:.0f} s after the disturbance" if found.after else ""
            print(f"{kind}: {found.decision}, ended after {found.seconds:.0f} s{end}; sent again: {found.redone or 'nothing'}")
            same = "the same" if here.decision == found.decision else "another"
            print(f"{kind}: {same} decision; records that differ: {differ or 0}; done twice: {found.twice}")
            shutil.rmtree(Path(place) / kind)
    print(f"ratio={wrong} rungs that differ or were done twice (limit: 0)")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--climb"]:
        climb_here(Path(sys.argv[2]), sys.argv[3])
    else:
        main(common.arguments(__doc__ or "").quick)
