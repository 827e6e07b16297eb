"""Rows answered by a climb of 12,500 dev and as many sealed rows: all of them against those that are drawn by default.

Climbs are simulated as in proof.py, on ladders of seven rungs whose true scores are known. Drawn rows are some of all rows, so
the two climbs of a run see the same answers. Same decision: both prove the same rung, or both show that all fail, or both do
neither. Wrong: a rung that falls short of the goal is proved. On the ladders named after a distance the best rung lies so far
above the goal, and others just under it. The ratio is that of the rows answered, dev and sealed rows of all rungs counted, over
all ladders.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from unittest import mock

import common
import numpy as np
import proof
from proof import Ladder

from rung.claims import evidence
from rung.claims.evidence import Rows
from rung.data.enough import dev_part, enough
from rung.metrics import resample, stats

EACH = 12_500
"""Dev rows, and sealed rows."""
NONE = (0, 0)
LADDERS = (
    *proof.LADDERS,
    Ladder("all far below", (0.20, 0.45, 0.60, 0.65, 0.50, 0.30, 0.55), 0.80, NONE),
    *(Ladder(f"{above:g} above the goal", (0.3, 0.78, 0.79, 0.795, 0.8 + above, 0.8 + above, 0.7), 0.8, NONE)
      for above in (0.01, 0.02, 0.03, 0.05)),
    *proof.JUST_UNDER[:2],
)  # fmt: skip


@dataclass
class Tally:
    """Of the climbs on one ladder."""

    runs: int = 0
    same: int = 0
    whole_rows: int = 0
    drawn_rows: int = 0
    whole_right: int = 0
    drawn_right: int = 0
    whole_wrong: int = 0
    drawn_wrong: int = 0

    def add(self, whole: Decided, drawn: Decided, short: np.ndarray) -> None:
        self.runs += 1
        self.same += whole.verdict == drawn.verdict
        self.whole_rows += whole.rows
        self.drawn_rows += drawn.rows
        for side, one in (("whole", whole), ("drawn", drawn)):
            if isinstance(one.verdict, int):
                kind = "wrong" if short[one.verdict] else "right"
                setattr(self, f"{side}_{kind}", getattr(self, f"{side}_{kind}") + 1)


@dataclass(frozen=True)
class Decided:
    """The end of a climb."""

    verdict: int | str
    """The rung that meets the goal; or fails, or undecided."""
    rows: int
    """Rows that its rungs answered, dev and sealed."""


def decided(values: np.ndarray, dev: int, ladder: Ladder) -> Decided:
    """A climb on these rows, of which the first are dev."""
    found, (m, n) = proof.climb(values, dev, ladder), values.shape
    rows = found.measured * dev + len(found.sealed) * (n - dev)
    if found.chosen is not None:
        return Decided(found.chosen, rows)
    seen = [n if rung in found.sealed else dev for rung in range(m)]
    held = [Rows(values[rung, :k], clusters=proof.groups_of(k, ladder)) for rung, k in enumerate(seen)]
    fails = all(evidence.bounds(one, proof.ALPHA / m).high < ladder.goal for one in held)
    return Decided("fails" if fails else "undecided", rows)


def drawn_rows(ladder: Ladder) -> tuple[int, int]:
    """Dev and sealed rows that are used by default, whole groups."""
    most = enough(ladder.goal)
    dev = dev_part(most, EACH // ladder.group, EACH // ladder.group)
    return dev * ladder.group, (most - dev) * ladder.group


def simulated(ladder: Ladder, runs: int) -> Tally:
    found, (dev, sealed) = Tally(), drawn_rows(ladder)
    for run in range(runs):
        values = proof.answers(np.random.default_rng([EACH, run]), ladder, 2 * EACH)
        fewer = np.concatenate([values[:, :dev], values[:, EACH : EACH + sealed]], axis=1)
        found.add(decided(values, EACH, ladder), decided(fewer, dev, ladder), ladder.short)
    return found


def main() -> None:
    args = common.arguments(__doc__)
    tallies = []
    for ladder in LADDERS:
        one = simulated(ladder, (6 if ladder.graded or ladder.group > 1 else 100) * (1 if args.quick else 8))
        tallies.append(one)
        dev, sealed = drawn_rows(ladder)
        print(
            f"{ladder.name:32s} {dev} dev and {sealed} sealed rows drawn; answered {one.whole_rows / one.runs:7.0f} -> "
            f"{one.drawn_rows / one.runs:6.0f} rows a climb; same {one.same} of {one.runs}; right meets {one.whole_right} -> "
            f"{one.drawn_right}, wrong {one.whole_wrong} -> {one.drawn_wrong}",
            flush=True,
        )
    runs, same = sum(one.runs for one in tallies), sum(one.same for one in tallies)
    wrong = [sum(getattr(one, f"{side}_wrong") for one in tallies) for side in ("whole", "drawn")]
    ratio = np.mean([one.whole_rows / one.runs for one in tallies]) / np.mean([one.drawn_rows / one.runs for one in tallies])
    before, after = (stats.wilson(count, runs) for count in wrong)
    print(f"same decision: {stats.wilson(same, runs)}; wrong meets: {before} -> {after}")
    print(f"ratio={ratio:.2f} rows answered with all rows over rows answered with those drawn, each ladder alike")


if __name__ == "__main__":
    with mock.patch.object(resample, "bootstrap_interval", partial(resample.bootstrap_interval, resamples=proof.RESAMPLES)):
        main()
