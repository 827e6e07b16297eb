"""Answering only where the encoder is sure: banking77 at 10 train rows a class, goal 0.95 of the rows answered at coverage 0.7.

Each draw is a climb of its own train rows, with 400 held-out rows of the test file, half of them sealed, which are then
opened whatever dev says. The threshold comes from train. The claim of the climb (score and share answered, 95% confidence) is
compared with the truth: the same Predictor on all 3,080 rows of the test file. Held-out rows are drawn without replacement, so
the bounds hold a little more often than with endless rows (the spread is 0.93 times as wide). Every text is embedded once for
all draws. --quick: 20 draws instead of 100. Last line: ratio = share of draws in which both bounds of the claim hold.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import common
import numpy as np
from numpy.typing import NDArray

from rung.api.progress import Silent
from rung.climbing import test_set
from rung.climbing.climb import chosen, climb
from rung.climbing.deciding import decide
from rung.climbing.project import Project
from rung.climbing.selecting import with_threshold
from rung.decisions import Claim
from rung.lm.engines import Engines
from rung.metrics.stats import wilson
from rung.task import load_task
from rung.types import Example, Selection

PER_CLASS, HELD, LEAST, COVERAGE = 10, 400, 0.95, 0.7
YAML = f"""\
task: Name the intent of the customer's message to the bank.
kind: classify
data: {{train: train.csv, dev: dev.csv, test: test.csv, input: text, output: intent}}
base: fake
rungs: [encoder]
goal: {{metric: accuracy, at_least: {LEAST}, coverage: {COVERAGE}}}
"""
Row = tuple[str, str]


class Remembering:
    """An embedder that embeds each text once."""

    def __init__(self, embedder: object):
        self.embedder, self.known = embedder, dict[str, NDArray[np.float32]]()

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        new = [text for text in dict.fromkeys(texts) if text not in self.known]
        if new:
            self.known |= dict(zip(new, self.embedder.embed(new)))  # type: ignore[attr-defined]
        return np.stack([self.known[text] for text in texts])


def draw(root: Path, seed: int, engines: Engines, test: list[Row]) -> tuple[Claim, Selection, list[tuple[bool, bool, float]]]:
    """The claim, the threshold, and of each row of the test file: answered, right, confidence."""
    held = random.Random(seed).sample(test, HELD)
    train = [row for rows in common.by_label(seed) for row in rows[:PER_CLASS]]
    folder = common.write_task(root / str(seed), YAML, {"train": train, "dev": held[: HELD // 2], "test": held[HELD // 2 :]})
    project = Project(load_task(folder), engines, say=lambda text: None)
    [record] = climb(project, Silent()).records
    assert record.selection, record.reason
    if why := test_set.prove(project, record):
        raise SystemExit(why)
    claim = decide(project, [record]).claim
    assert claim and claim.coverage is not None, "the sealed rows were opened"
    found = with_threshold(project, chosen(project, "encoder")).predict([Example(text, "") for text, _ in test], engines)
    rows = [
        (not one.abstained, (one.output or one.guess) == label, one.confidence or 0.0) for one, (_, label) in zip(found, test)
    ]
    return claim, record.selection, rows


def best_share(rows: list[tuple[bool, bool, float]]) -> float:
    """The largest share of the rows, the surest first, that is right often enough: what a threshold chosen on them would have."""
    right = np.cumsum([one for _, one, _ in sorted(rows, key=lambda row: -row[2])])
    share = right / np.arange(1, len(rows) + 1)
    return float((np.flatnonzero(share >= LEAST)[-1] + 1) / len(rows)) if (share >= LEAST).any() else 0.0


def main() -> None:
    args = common.arguments(__doc__ or "")
    engines = Engines(common.machine(), say=lambda text: None)
    name = "all-minilm-l6-v2"
    engines.put_embedder(name, Remembering(engines.embedder(name)), engines.find(name).digest)  # type: ignore[arg-type]
    test = list(dict(common.bank("test")).items())
    held, shares, rates, bests = [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(20 if args.quick else 100):
            claim, cut, rows = draw(Path(folder), seed, engines, test)
            answered = [right for done, right, _ in rows if done]
            rate, share = fmean(answered), len(answered) / len(rows)
            assert claim.coverage is not None
            held.append(claim.at_least <= rate and claim.coverage <= share)
            shares.append(share)
            rates.append(rate)
            bests.append(best_share(rows))
            print(
                f"draw {seed}: answers {share:.3f} at {rate:.3f}; on train {cut.coverage:.3f} at {cut.score:.3f},"
                f" area under the curve {cut.auc:.3f};"
                f" claimed at least {claim.at_least:.3f} at {claim.coverage:.3f}: {'holds' if held[-1] else 'FAILS'};"
                f" {LEAST:.0%} right were possible at {bests[-1]:.3f}",
                flush=True,
            )
    print(
        f"answered: mean {fmean(shares):.3f} of the rows at {fmean(rates):.3f} right; {fmean(bests):.3f} possible at {LEAST:.0%}"
    )
    bound = wilson(sum(held), len(held))
    print(f"ratio={fmean(held):.2f} of {len(held)} draws in which the claim holds: {bound}; 19 of 20 asked")


if __name__ == "__main__":
    main()
