"""Undecided climbs that are given the number of held-out rows that was advised: how many are decided then.

Ladders of right-or-wrong and of graded rungs are drawn whose true scores lie around the goal. Each is climbed by `decide` and
`next_rung` with half of its held-out rows sealed, as in `rung climb`. Of those that end undecided with an advised number of
rows, that many are drawn from the same rungs, and the climb is repeated on all rows with the error that is left. Where the advice
is that no practical number decides, that is counted apart, with the distance of the rung from its goal.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np

from rung.claims.shares import ERROR, FIRST
from rung.climbing.decide import decide, next_rung
from rung.climbing.held import Proof
from rung.decisions import Decision
from rung.metrics import resample, stats
from rung.types import Cost, Interval, Latency, Record, Scores

RUNGS = 4


@dataclass(frozen=True)
class Goal:
    at_least: float
    metric: str
    latency_ms: float | None = None
    usd_per_1k: float | None = None
    usd_per_month: float | None = None
    max_forgetting: float | None = None
    coverage: float | None = None


def draw(rng: np.random.Generator, mean: float, n: int, graded: bool) -> np.ndarray:
    return rng.beta(mean, 1 - mean, n) if graded else (rng.random(n) < mean).astype(float)


def scores(values: np.ndarray, goal: Goal, split: Any) -> Scores:
    rows = tuple(float(value) for value in values)
    mean = float(values.mean())
    return Scores(goal.metric, split, Interval(mean, 0.0, 1.0, len(rows)), tuple(f"{split} {i}" for i in range(len(rows))), rows)


def climb(values: list[np.ndarray], goal: Goal, error: float, later: float) -> Decision:
    """A whole climb: all rungs measured on the first half of their rows, those with a fair chance proved on the others."""
    dev, sealed = [row[: len(row) // 2] for row in values], [row[len(row) // 2 :] for row in values]
    taken = Interval(9, 9, 9, 20)
    records = [
        Record(
            f"rung {i}", "done", scores=scores(row, goal, "dev"), cost=Cost(per_month_usd=i + 1), latency=Latency(taken, taken)
        )
        for i, row in enumerate(dev)
    ]
    proofs: dict[str, Proof] = {}
    while True:
        found = decide(records, goal, alpha=error, sealed=len(sealed[0]), proofs=proofs, later=later)
        name = next_rung(found, records, len(proofs), finished=True)
        if name is None:
            return found
        proofs[name] = Proof(scores(sealed[int(name.split()[1])], goal, "test"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer climbs")
    runs, began = (240 if parser.parse_args().quick else 1200), time.perf_counter()
    first, second = FIRST * ERROR, FIRST * (1 - FIRST) * ERROR
    third = FIRST * (ERROR - first - second)
    decided = advised = hopeless = 0
    for graded in (False, True):
        here, wrong, told, gaps = 0, 0, [], []
        rng = np.random.default_rng(int(graded))
        for _ in range(runs // 4 if graded else runs):
            goal = Goal(float(rng.choice([0.6, 0.75, 0.9])), "token_f1" if graded else "accuracy")
            means = np.clip(goal.at_least + rng.normal(0, 0.1, RUNGS), 0.02, 0.98)
            n = int(rng.choice([80, 160, 320]))
            values = [draw(rng, mean, n, graded) for mean in means]
            found = climb(values, goal, first, second)
            if found.verdict != "undecided":
                continue
            rung = int(found.chosen.split()[1])
            more = next(one.more_rows for one in found.rungs if one.rung == found.chosen)
            if not 0 < more < stats.MAX_ROWS:
                hopeless, gaps = hopeless + 1, [*gaps, abs(means[rung] - goal.at_least)]
                continue
            grown = [np.concatenate([*interleaved(row, draw(rng, mean, more, graded))]) for row, mean in zip(values, means)]
            after = climb(grown, goal, second, third)
            verdict = next(one.verdict for one in after.rungs if one.rung == found.chosen)
            settled = after.verdict == "meets" or verdict != "undecided"
            here, told = here + settled, [*told, more]
            wrong += after.verdict == "meets" and means[int(after.chosen.split()[1])] < goal.at_least
        decided, advised = decided + here, advised + len(told)
        what = "graded" if graded else "right or wrong"
        print(
            f"{what:16s} decided {stats.wilson(here, len(told))}; advised rows: median {np.median(told):.0f}; wrong meets {wrong}"
        )
        if gaps:
            print(f"{'':16s} too close to say: {len(gaps)}, {np.median(gaps):.3f} from the goal (median)", flush=True)
    print(f"{time.perf_counter() - began:.0f} s")
    print(f"ratio={decided / advised:.3f} of undecided climbs are decided by the advised number of rows, {advised} climbs")


def interleaved(old: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, ...]:
    """Old and new rows, half of each in dev: dev first, then sealed."""
    a, b = len(old) // 2, len(new) // 2
    return old[:a], new[:b], old[a:], new[b:]


def few_resamples(*given: Any, **how: Any) -> Interval:
    """The bootstrap with 1,000 resamples; a climb takes 10,000."""
    return WHOLE(*given[:3], **{**how, "resamples": 1000})


WHOLE = resample.bootstrap_interval

if __name__ == "__main__":
    with mock.patch.object(resample, "bootstrap_interval", few_resamples):
        main()
