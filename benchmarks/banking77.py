"""banking77 at 10 training rows a class: every rung on 500 dev rows, the chosen one on 1,000 sealed rows.

Writes a task folder (default: a temporary one) from the public data, climbs it with --all, and prints the leaderboard.
A second run in the same folder takes everything from the records. --quick: 10 of the 77 classes.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import common

PER_CLASS, DEV, TEST = 10, 500, 1000
YAML = """\
task: Name the intent of the customer's message to the bank.
kind: classify
data: {{train: train.csv, dev: dev.csv, test: test.csv, input: text, output: intent}}
base: smollm2-135m-instruct
goal: {{metric: accuracy, at_least: {goal}}}
volume: 10000
"""


def write(folder: Path, classes: int) -> None:
    """10 rows a class of the train file to learn from; dev and test rows of the test file, at random and apart."""
    rng = random.Random(0)
    train, test = common.bank("train"), common.bank("test")
    labels = sorted({label for _, label in train})[:classes]
    by_label: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for row in rng.sample(train, len(train)):
        by_label[row[1]].append(row)
    learn = [row for label in labels for row in by_label[label][:PER_CLASS]]
    held = rng.sample([row for row in test if row[1] in labels], min(DEV + TEST, sum(row[1] in labels for row in test)))
    dev = held[: len(held) * DEV // (DEV + TEST)]
    splits = {"train": rng.sample(learn, len(learn)), "dev": dev, "test": held[len(dev) :]}
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in splits.items():
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "intent"])
            writer.writerows(rows)
    (folder / "rung.yaml").write_text(YAML.format(goal=0.8), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--folder", type=Path, default=None, help="keep the task here; climbs go on where they were")
    args = parser.parse_args()
    folder = args.folder or Path(tempfile.mkdtemp()) / "banking77"
    if not (folder / "rung.yaml").exists():
        write(folder, 10 if args.quick else 77)
    run = [sys.executable, "-m", "rung.cli", "climb", str(folder), "--all"]
    subprocess.run(run, check=False)  # its exit code says what became of the goal
    shown = [sys.executable, "-m", "rung.cli", "show", str(folder), "--json"]
    result = json.loads(subprocess.run(shown, check=False, capture_output=True, text=True).stdout)
    print("| rung | accuracy (dev) | n | fit s | predict s | p95 ms | $ per 1,000 |\n|---|---|---|---|---|---|---|")
    for rung in result["rungs"]:
        if rung["status"] == "done":
            score, cost = rung["score"], rung["cost"]
            print(
                f"| {rung['name']} | {score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}] | {score['n']} "
                f"| {rung['fit_seconds']:.0f} | {rung['predict_seconds']:.0f} | {rung['latency_ms']['p95']:.0f} "
                f"| {cost['per_1k_usd']:.4f} |"
            )
        else:
            print(f"| {rung['name']} | {rung['status']}: {rung['reason']} | | | | | |")
    print(result["why"])
    if result["test"]:
        test = result["test"]
        print(f"test: {test['value']:.3f} [{test['low']:.3f}, {test['high']:.3f}], n={test['n']}")
    best = max(rung["score"]["value"] for rung in result["rungs"] if rung["status"] == "done")
    print(f"ratio={best:.3f} best accuracy on dev")


if __name__ == "__main__":
    main()
