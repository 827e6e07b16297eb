"""The encoder's accuracy on banking77 over several draws of 10 training rows a class, on all rows of the test file.

One draw's score depends on which rows were drawn; this says by how much. --quick: three draws and 1,000 of the test rows.
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from statistics import fmean

import common

from rung.lm.engines import Engines
from rung.methods import METHODS
from rung.methods.base import Run
from rung.metrics.stats import wilson
from rung.predictor import Predictor
from rung.types import Example, TrainData

PER_CLASS = 10


def drawn(seed: int) -> list[Example]:
    """So many rows a class of the train file."""
    return [Example(text, label) for rows in common.by_label(seed) for text, label in rows[:PER_CLASS]]


def main() -> None:
    args = common.arguments(__doc__ or "")
    engines = Engines(common.machine(), say=lambda text: None)
    test = [Example(text, label) for text, label in common.bank("test")]
    if args.quick:
        test = random.Random(0).sample(test, 1000)
    labels = tuple(sorted({row.output for row in test}))
    start = Predictor(
        kind="classify",
        model=engines.reference("smollm2-135m-instruct"),
        encoder="all-minilm-l6-v2",
        instruction="Name the intent of the customer's message to the bank.",
        labels=labels,
        descriptions=("",) * len(labels),
    )
    shares = []
    for seed in range(3 if args.quick else 6):
        with tempfile.TemporaryDirectory() as folder:
            found = METHODS["encoder"].fit(start, TrainData(tuple(drawn(seed)), labels), Run(Path(folder), engines))
            right = sum(answer.output == row.output for answer, row in zip(found.predict(test, engines), test))
        shares.append(right / len(test))
        print(f"draw {seed}: {wilson(right, len(test))}", flush=True)
    print(
        f"ratio={fmean(shares):.3f} mean accuracy of {len(shares)} draws, {min(shares):.3f} to {max(shares):.3f}; 0.86 expected"
    )


if __name__ == "__main__":
    main()
