"""What reading, splitting and checking many rows takes: seconds of processor time and peak memory, by the number of rows.

    python benchmarks/check_rows.py                 # 50,000 and 200,000 rows
    python benchmarks/check_rows.py 10000 20000     # other sizes

The rows are made up: 8 to 30 words of a vocabulary with Zipf's frequencies, 40 labels, one row in fifty a near copy of
another. Each size is measured in a process of its own.
"""

from __future__ import annotations

import csv
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from itertools import accumulate
from pathlib import Path

SIZES = (50_000, 200_000)
WORDS, LABELS = 20_000, 40


def make(folder: Path, rows: int) -> None:
    """A classify task with so many rows."""
    chance = random.Random(0)
    words = [f"{chance.choice('bdfgklmnprst')}{chance.choice('aeiou')}{n:x}" for n in range(WORDS)]
    weights = list(accumulate(1 / (rank + 5) for rank in range(WORDS)))
    texts: list[list[str]] = []
    for _ in range(rows):
        if texts and chance.random() < 0.02:
            text = [*chance.choice(texts)]
            text[0] = chance.choice(words)
        else:
            text = chance.choices(words, cum_weights=weights, k=chance.randint(8, 30))
        texts.append(text)
    with (folder / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow(["input", "output"])
        out.writerows((" ".join(text), f"label {chance.randrange(LABELS)}") for text in texts)
    task = {"task": "Name the label.", "kind": "classify", "data": {"examples": "rows.csv"}, "goal": {"at_least": 0.5}}
    (folder / "rung.yaml").write_text(json.dumps(task), encoding="utf-8")


def measure(folder: Path) -> None:
    """Read, split and check the task in `folder`; prints one line of JSON."""
    from rung.data.check import check
    from rung.data.split import make_splits
    from rung.task import load_task

    task = load_task(folder)
    start = time.process_time()
    splits = make_splits(task)
    read = time.process_time()
    found = check(splits, task)
    end = time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    print(json.dumps({"read": read - start, "check": end - read, "peak": peak, "found": [[f.code, f.count] for f in found]}))


def main() -> None:
    """Measure each size and print a table."""
    print("| rows | read and split | check | peak memory | µs a row | bytes a row |\n|---|---|---|---|---|---|")
    for rows in [int(size) for size in sys.argv[1:]] or SIZES:
        with tempfile.TemporaryDirectory() as name:
            make(Path(name), rows)
            command = [sys.executable, __file__, "--measure", name]
            said = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        total = said["read"] + said["check"]
        print(
            f"| {rows:,} | {said['read']:.1f} s | {said['check']:.1f} s | {said['peak']:.0f} MB"
            f" | {1e6 * total / rows:.0f} | {2**20 * said['peak'] / rows:.0f} |",
            flush=True,
        )
        print(said["found"], file=sys.stderr)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(Path(sys.argv[2]))
    else:
        main()
