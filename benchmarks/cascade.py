"""A cascade against its dear rung on banking77 at 10 train rows a class: cost of an answer, and the score on the same rows.

The cheap rung is `encoder`, the dear one `few-shot-similar` on the default model, and without --quick `lora` too. Both answer
train rows as new ones, which gives the threshold; scores are on dev rows that no fit saw, costs are this machine's time for an
answer as measured. --quick: 10 of the 77 classes, 150 dev rows. Last line: ratio = cost of the dear rung's answers over that of
the cascade's, where the cascade is not shown to score lower (paired interval, its lower end at least -0.03).
"""

from __future__ import annotations

import csv
import random
import tempfile
from pathlib import Path

import common

from rung import api
from rung.climbing.comparing import compare
from rung.types import Record

PER_CLASS, LOWEST = 10, -0.03
YAML = """\
task: Name the intent of the customer's message to the bank.
kind: classify
data: {{train: train.csv, dev: dev.csv, test: test.csv, input: text, output: intent}}
rungs: {rungs}
goal: {{metric: accuracy, at_least: 0.9}}
"""
Row = tuple[str, str]


def task(folder: Path, classes: int, held: int, rungs: list[str]) -> Path:
    """A task of so many classes, drawn with their rows."""
    by_label = random.Random(0).sample(common.by_label(0), classes)
    labels = {rows[0][1] for rows in by_label}
    found = [row for row in common.bank("test") if row[1] in labels]
    drawn = random.Random(0).sample(found, min(len(found), 2 * held))
    parts = {"train": [row for rows in by_label for row in rows[:PER_CLASS]], "dev": drawn[:held], "test": drawn[held:]}
    for name, rows in parts.items():
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("text", "intent"), *rows])
    (folder / "rung.yaml").write_text(YAML.format(rungs=rungs), encoding="utf-8")
    return folder


def said(record: Record) -> str:
    assert record.scores and record.cost and record.latency, record.reason
    cost = f"{record.cost.per_1k_usd:.5f} $ for 1,000 answers, p50 {record.latency.p50.value:.0f} ms"
    return f"{record.rung}: accuracy {record.scores.overall}, {cost}, {record.cost.fit_seconds:.0f} s to fit"


def main() -> None:
    args = common.arguments(__doc__ or "")
    common.machine()
    dear = ["few-shot-similar"] if args.quick else ["few-shot-similar", "lora"]
    cascades = [f"encoder>{rung}" for rung in dear]
    ratios = []
    with tempfile.TemporaryDirectory() as place:
        folder = task(Path(place), 10 if args.quick else 77, 150 if args.quick else 750, cascades)
        found = {one.rung: one for one in api.climb(folder, everything=True, progress=False).records}
        for record in found.values():
            print(said(record), flush=True)
        for name, rung in zip(cascades, dear):
            one, alone = found[name], found[rung]
            assert one.cost and alone.cost and one.provenance.notes
            print(f"{name} on train: {dict(one.provenance.notes[-1])}")
            difference = compare(alone, one).difference
            ratio = alone.cost.per_1k_usd / one.cost.per_1k_usd
            lower = "not lower" if difference.low >= LOWEST else "LOWER"
            print(f"{name}: {ratio:.2f} times cheaper than {rung}, accuracy {difference} against it: {lower}")
            ratios.append(ratio if difference.low >= LOWEST else 0.0)
    print(f"ratio={ratios[0]:.2f} times cheaper than {dear[0]} at no lower score; 3 asked")


if __name__ == "__main__":
    main()
