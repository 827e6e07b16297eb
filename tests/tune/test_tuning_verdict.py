"""What a race of trials tells, and how seldom it errs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rung.sequential.interim import schedule_analyses
from rung.sequential.race import race
from rung.tune.trials import plan
from rung.tune.verdict import ERROR, RaceSetup, tuning_verdict
from rung.types import Example


def test_settings_that_are_no_better_are_seldom_called_better() -> None:
    """Six trials that are equally good, their rows alike: the error is shared by all of them and all looks."""
    from scipy.special import ndtri

    rng, n, tries, wrong = np.random.default_rng(0), 160, 300, 0
    trials = plan("lora", {}, ["lora.rank=1,2,3,4,5"])
    rows = tuple(Example(str(i), "") for i in range(n))
    track = RaceSetup(rows, None, schedule_analyses(n), True)
    for _ in range(tries):
        values = ((rng.standard_normal(n) + rng.standard_normal((6, n))) / 2**0.5 < ndtri(0.7)).astype(float)
        found = tuning_verdict("lora", trials, range(6), outcome(values, rows, track), track)
        wrong += found.verdict == "gain"
    assert wrong <= ERROR * tries + 3 * (ERROR * (1 - ERROR) * tries) ** 0.5


def test_settings_that_are_much_better_are_mostly_found() -> None:
    rng, n, right = np.random.default_rng(1), 200, 0
    trials = plan("lora", {}, ["lora.rank=1,2,3"])
    rows = tuple(Example(str(i), "") for i in range(n))
    track = RaceSetup(rows, None, schedule_analyses(n), True)
    for _ in range(30):
        values = (rng.random((4, n)) < np.array([[0.5], [0.5], [0.8], [0.5]])).astype(float)
        found = tuning_verdict("lora", trials, range(4), outcome(values, rows, track), track)
        right += found.verdict == "gain" and found.best == 2
        assert found.difference.low <= found.difference.value <= found.difference.high
    assert right >= 27


def outcome(values: np.ndarray, rows: tuple[Example, ...], track: RaceSetup) -> Any:
    def candidate(i: int) -> Callable[[Sequence[Example]], list[float]]:
        return lambda some: [float(values[i][int(row.input)]) for row in some]

    return race([candidate(i) for i in range(len(values))], rows, track.schedule, alpha=ERROR, binary=True)
