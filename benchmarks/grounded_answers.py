"""Answers on XQuAD English, passages retrieved and not given: zero-shot, rag, and rag+lora with the default model.

Written as a task and climbed like one: each of the 240 paragraphs is a file, each row names its file, and no article stands
in both train and dev. Intervals and paired differences draw whole articles. Last line: points of token F1 that rag+lora
gains over zero-shot, asked for 30 and for more than rag beyond the interval.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import common
import numpy as np

from rung.climbing.climb import climb
from rung.climbing.project import Project
from rung.metrics.resample import bootstrap_interval, paired_bootstrap
from rung.task import load_task
from rung.types import Record

RUNGS = ("zero-shot", "rag", "rag+lora")


@dataclass(frozen=True)
class Size:
    train: int
    dev: int
    passages: int
    tokens: int
    """Of a passage at most."""
    epochs: int


QUICK = Size(train=110, dev=90, passages=2, tokens=110, epochs=2)
WHOLE = Size(train=500, dev=400, passages=2, tokens=200, epochs=3)


def write_task(folder: Path, size: Size) -> None:
    """XQuAD as a task folder: paragraphs as files, rows by article, even ones to train, odd ones to dev and test."""
    source = common.DATA / "xquad" / "xquad.en.json"
    if not source.exists():
        sys.exit(f"XQuAD is absent ({source.name} is read from shared/data); nothing was measured")
    (folder / "docs").mkdir()
    rows: tuple[list, list] = ([], [])
    for i, article in enumerate(json.loads(source.read_text(encoding="utf-8"))["data"]):
        for j, paragraph in enumerate(article["paragraphs"]):
            name = f"docs/{i:02d}-{j}.txt"
            (folder / name).write_text(paragraph["context"], encoding="utf-8")
            rows[i % 2].extend((qa["question"], qa["answers"][0]["text"], name, f"a{i}") for qa in paragraph["qas"])
    for some in rows:
        random.Random(0).shuffle(some)
    parts = {"train": rows[0][: size.train], "dev": rows[1][: size.dev], "test": rows[1][size.dev : size.dev + 20]}
    for name, some in parts.items():
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("question", "answer", "source", "article"), *some])
    task = {
        "task": "Answer the question in a few words.",
        "kind": "answer",
        "data": {part: f"{part}.csv" for part in parts}
        | {"documents": "docs/", "input": "question", "output": "answer", "source": "source", "group": "article"},
        "rungs": list(RUNGS),
        "methods": {
            "rag": {"passages": size.passages, "size": size.tokens, "overlap": 20},
            "lora": {"epochs": size.epochs},
        },
        "goal": {"metric": "token_f1", "at_least": 0.99},
        "budget": {"minutes": 600},
    }
    (folder / "rung.yaml").write_text(json.dumps(task), encoding="utf-8")  # JSON is YAML


class Watcher:
    """Says when a rung begins and ends."""

    def planned(self, steps) -> None:
        for step in steps:
            print(
                f"{step.rung}: quoted {step.estimate.fit_seconds:.0f} s to fit" if step.estimate else f"{step.rung}: {step.skip}"
            )

    def began(self, rung: str) -> None:
        print(f"{rung} …", flush=True)

    def progress(self, rung: str, text: str, share: float) -> None: ...

    def ended(self, record: Record) -> None:
        print(f"  {record.status} {record.reason}", flush=True)


def told(records: dict[str, Record], articles: dict[str, str]) -> float:
    """Print scores, what was retrieved and the paired differences; returns the gain over zero-shot in points."""
    ids = records["zero-shot"].scores.ids
    groups = [articles[i] for i in ids]
    rows = {rung: np.array(records[rung].scores.per_row) for rung in RUNGS}
    for rung in RUNGS:
        record = records[rung]
        assert record.scores.ids == ids, "the rungs were not scored on the same rows"
        score = bootstrap_interval(rows[rung], groups, limits=(0.0, 1.0))
        print(f"{rung:10s} token F1 {score}, fit {record.cost.fit_seconds:.0f} s")
        for name, found in record.scores.others.items():
            print(f"           {name} {found}")
        if (attack := record.provenance.attack) and attack.rate:
            print(f"           carried a planted instruction's word {attack.rate}")
    gain = paired_bootstrap(rows["zero-shot"], rows["rag+lora"], groups)
    over = paired_bootstrap(rows["rag"], rows["rag+lora"], groups)
    print(f"rag+lora less zero-shot: {gain}   asked: 0.30")
    print(f"rag+lora less rag:       {over}   asked: lower end above 0")
    return 100 * gain.value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="110 train rows, 90 dev rows, short passages")
    for name in ("train", "dev", "epochs"):
        parser.add_argument(f"--{name}", type=int, help="instead of the usual")
    parser.add_argument("--base", default="smollm2-135m-instruct")
    given = parser.parse_args()
    usual = QUICK if given.quick else WHOLE
    size = Size(given.train or usual.train, given.dev or usual.dev, usual.passages, usual.tokens, given.epochs or usual.epochs)
    common.machine()
    print(size)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_task(folder, size)
        project = Project(load_task(folder).model_copy(update={"base": given.base}))
        project.task._folder = folder
        result = climb(project, Watcher(), everything=True)
        records = {record.rung: record for record in result.records}
        if bad := [f"{r.rung}: {r.reason}" for r in result.records if r.status != "done"]:
            sys.exit(f"not measured: {'; '.join(bad)}")
        gain = told(records, {example.id: example.group for example in project.inputs.splits.dev})
    print(f"ratio={gain:.1f} points of token F1 gained by rag+lora over zero-shot on {size.dev} dev rows")


if __name__ == "__main__":
    main()
