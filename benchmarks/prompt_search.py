"""Prompt search against plain zero-shot on four public tasks: both on the same held-out rows, paired.

Half of published prompt searches end below zero-shot, so what is counted is the tasks on which the searched prompt is not
worse beyond the interval; gains, and the spread over wordings and orders of examples, are told beside it.
"""

from __future__ import annotations

import csv
import json
import random
import tempfile
import time
from pathlib import Path

import common
import eight

from rung.lm.engines import Engines
from rung.methods.base import Run
from rung.methods.prompt_search import PromptSearch
from rung.metrics import interval, resample
from rung.predictor import Predictor
from rung.types import Example, Interval, TrainData

Rows = list[tuple[str, str]]


def banking77() -> tuple[str, Rows]:
    labels = sorted({label for _, label in common.bank()})[::8][:10]
    return "Name the intent of the customer's message to the bank.", [row for row in common.bank() if row[1] in labels]


def pubmedqa() -> tuple[str, Rows]:
    found = eight.pubmedqa()
    return found.task, found.rows


def mts_dialog() -> tuple[str, Rows]:
    with (common.DATA / "mts_dialog/MTS-Dialog-TrainingSet.csv").open(encoding="utf-8") as file:
        rows = [(eight.end(row["dialogue"]), row["section_header"]) for row in csv.DictReader(file)]
    often = {label for _, label in rows if sum(other == label for _, other in rows) >= 40}
    return "Name the section of the clinical note that the conversation belongs to.", [row for row in rows if row[1] in often]


def ner() -> tuple[str, Rows]:
    """Sentences with names of one type."""
    rows = [(text, json.loads(names)) for text, names in eight.ner().rows]
    return "Say of which type the names in the message are.", [
        (text, next(iter(names))) for text, names in rows if len(names) == 1
    ]


def compared(name: str, engines: Engines, calls: int, train: int, held: int) -> bool:
    """Search on train, score both on held-out rows, print; whether the searched prompt is not worse beyond the interval."""
    task, rows = TASKS[name]()
    drawn = [Example(text, label) for text, label in dict(random.Random(0).sample(rows, len(rows))).items()][: train + held]
    labels = tuple(sorted({row.output for row in drawn}))
    start = Predictor(
        kind="classify",
        model=engines.reference("smollm2-135m-instruct"),
        instruction=task,
        labels=labels,
        descriptions=("",) * len(labels),
    )
    with tempfile.TemporaryDirectory() as folder:
        run, began = Run(Path(folder), engines), time.perf_counter()
        found = PromptSearch(calls=calls).fit(start, TrainData(tuple(drawn[:-held]), labels), run)
        seconds = time.perf_counter() - began
        before = right(start, drawn[-held:], engines)
        after = before if found == start else right(found, drawn[-held:], engines)
    difference = resample.paired_bootstrap(before, after) if found != start else Interval(0.0, 0.0, 0.0, held)
    print(f"{name}: {len(drawn) - held} train rows, {len(labels)} labels, {run.notes['calls']} calls in {seconds:.0f} s")
    print(f"  {run.notes['verdict']}")
    print(f"  zero-shot {interval(before)}; searched {interval(after)}; difference {difference}")
    for what, of in run.notes.get("spread", {}).items():
        print(f"  over {of['tried']} of {what}: mean {of['mean']:.3f}, {of['min']:.3f} to {of['max']:.3f}, n={of['n']}")
    return difference.high >= 0


def right(predictor: Predictor, rows: list[Example], engines: Engines) -> list[float]:
    return [float(p.output == row.output) for p, row in zip(predictor.predict(rows, engines), rows)]


TASKS = {"banking77": banking77, "pubmedqa": pubmedqa, "mts_dialog": mts_dialog, "ner": ner}


def main() -> None:
    args = common.arguments(__doc__ or "")
    engines = Engines(common.machine())
    calls, train, held = (300, 240, 60) if args.quick else (1500, 600, 300)
    fine = [compared(name, engines, calls, train, held) for name in TASKS]
    print(f"ratio={sum(fine)} of {len(fine)} tasks on which the searched prompt is not worse than zero-shot beyond the interval")


if __name__ == "__main__":
    main()
