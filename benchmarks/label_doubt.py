"""Rows chosen by doubt against rows drawn at random: the encoder's errors on dev after as many more train rows of either kind.

banking77, 20 classes: 4 train rows a class, then 60 of a pool of 300 added as `rung label --for train` chooses them, or at
random, both with the data's own labels. Each draw has its own rows; the two kinds are compared on the same 300 dev rows.
--quick: 3 draws instead of 10. Last line: ratio = errors with random rows / errors with chosen rows, over 1 where doubt helps.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from pathlib import Path

import common

from rung import api
from rung.climbing.project import Project
from rung.labelling import doubt
from rung.metrics import resample
from rung.task import load_task
from rung.types import Example

CLASSES, PER_CLASS, POOL, ADDED, DEV = 20, 4, 300, 60, 300
YAML = """\
task: Name the intent of the customer's message to the bank.
kind: classify
data: {train: train.csv, dev: dev.csv, test: test.csv, input: text, output: intent}
base: fake
rungs: [nearest, encoder]
goal: {metric: accuracy, at_least: 0.9}
"""
Row = tuple[str, str]


def chosen(folder: Path, pool: list[Row]) -> list[Row]:
    """The rows of the pool that the fitted rungs of a task are most in doubt of."""
    project = Project(load_task(folder), say=lambda text: None)
    label = dict(pool)
    rows = [(Example(text, ""), "train") for text, _ in pool]
    drawn = doubt.by_doubt(project, rows, doubt.voters(project), lambda text, share: None)  # type: ignore[arg-type]
    return [(one.row.input, label[one.row.input]) for one in drawn[:ADDED]]


def right(folder: Path) -> list[float]:
    """Whether the encoder is right on each dev row."""
    record = api.fit(folder, "encoder", progress=False).records[0]
    assert record.scores, record.reason
    return list(record.scores.per_row)


def draw(root: Path, seed: int) -> tuple[list[float], list[float], list[float]]:
    """Dev rows right: at the start, with random rows added, with chosen rows added."""
    rng = random.Random(seed)
    train, test = common.bank("train"), common.bank("test")
    labels = sorted(rng.sample(sorted({label for _, label in train}), CLASSES))
    rows = list(dict(rng.sample([row for row in train if row[1] in labels], sum(row[1] in labels for row in train))).items())
    start = [row for label in labels for row in [row for row in rows if row[1] == label][:PER_CLASS]]
    pool = [row for row in rows if row not in start][:POOL]
    held = rng.sample([row for row in test if row[1] in labels], DEV + CLASSES)
    parts = {"dev": held[:DEV], "test": held[DEV:]}
    first = common.write_task(root / f"{seed}-start", YAML, {"train": start, **parts})
    api.climb(first, everything=True, progress=False)
    more = {"random": pool[:ADDED], "chosen": chosen(first, pool)}
    grown = [common.write_task(root / f"{seed}-{name}", YAML, {"train": start + some, **parts}) for name, some in more.items()]
    return right(first), right(grown[0]), right(grown[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    draws = 3 if parser.parse_args().quick else 10
    at_random: list[float] = []
    by_doubt: list[float] = []
    draw_of: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(draws):
            before, some, best = draw(Path(folder), seed)
            print(
                f"draw {seed}: {mean(before):.3f} at the start, {mean(some):.3f} with random, {mean(best):.3f} with chosen rows"
            )
            at_random += some
            by_doubt += best
            draw_of += [seed] * len(some)
    difference = resample.paired_bootstrap(at_random, by_doubt, draw_of)
    print(f"accuracy with chosen less with random rows: {difference} rows, by draw")
    ratio = (1 - mean(at_random)) / (1 - mean(by_doubt))
    print(f"ratio={ratio:.2f} errors with {ADDED} random rows over errors with {ADDED} chosen rows, {draws} draws")


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


if __name__ == "__main__":
    main()
