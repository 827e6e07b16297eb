"""The statistics of the claim: exact small cases, and the stated error in simulation, whatever the ladder."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import betabinom, binom

from rung.claims import evidence, exact
from rung.claims.evidence import Rows
from rung.claims.order import FAIR, LEAST, MOST, SURE, next_proof
from rung.claims.shares import SCREEN, Counted, Measured, Untried, levels


def right(k: int, n: int) -> Rows:
    return Rows([1.0] * k + [0.0] * (n - k))


def most(share: float, runs: int) -> float:
    """What a true share is exceeded by in one simulation of a thousand."""
    return share + 3.1 * (share * (1 - share) / runs) ** 0.5


# --- exact ------------------------------------------------------------------------------------------------------------


@given(st.integers(1, 200), st.floats(0.01, 0.99), st.data())
@settings(max_examples=50, deadline=None)
def test_tails_and_bounds_invert_each_other(rows: int, rate: float, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, rows))
    assert exact.tail(k, rows, rate) == pytest.approx(binom.sf(k - 1, rows, rate), abs=1e-9)
    assert exact.tails(rows, rate)[k] == pytest.approx(binom.sf(k - 1, rows, rate), abs=1e-12)
    for error in (0.05, 0.001):
        low, high = exact.lower(k, rows, error), exact.upper(k, rows, error)
        assert low <= k / rows <= high
        assert low == 0 or binom.sf(k - 1, rows, low) == pytest.approx(error)
        assert high == 1 or binom.cdf(k, rows, high) == pytest.approx(error)


def test_the_fewest_right_answers_are_those_of_an_exact_test() -> None:
    assert exact.fewest(8, 0.5, 0.5**8) == 8 and exact.fewest(8, 0.5, 0.5**8 * 0.99) == 9
    assert exact.fewest(100, 0.9, 0.05) == next(k for k in range(101) if binom.sf(k - 1, 100, 0.9) <= 0.05)


@pytest.mark.parametrize(("seen", "of", "more"), [(9, 10, 7), (80, 100, 300), (0, 5, 40)])
def test_the_chance_of_further_right_answers_is_beta_binomial(seen: int, of: int, more: int) -> None:
    for least in (1, more // 2, more):
        true = betabinom.sf(least - 1, more, seen + 0.5, of - seen + 0.5)
        assert exact.predicted(least, more, seen, of) == pytest.approx(true, rel=1e-6)
    assert (exact.predicted(0, more, seen, of), exact.predicted(more + 1, more, seen, of)) == (1.0, 0.0)
    near = betabinom.sf(3199, 4000, 80.5, 20.5)
    assert exact.predicted(3200, 4000, 80, 100) == pytest.approx(near, abs=0.01)


# --- shares -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("goal", [0.3, 0.75, 0.9, 0.98])
@pytest.mark.parametrize("rows", [20, 60, 217])
def test_the_errors_of_all_rungs_sum_to_at_most_the_error(goal: float, rows: int) -> None:
    """For each rung at the worst score that its bound allows, by the binomial distribution itself."""
    uppers = [1.0, 1.0, goal, goal * 0.97, goal * 0.8, 0.2]
    found = levels([*(Counted(rows, high) for high in uppers), Untried()], goal, 0.05)
    spent = found[-1]
    for level, high in zip(found, uppers):
        needed = next((k for k in range(rows + 1) if binom.sf(k - 1, rows, goal) <= level), rows + 1)
        spent += binom.sf(needed - 1, rows, min(high, goal)) if needed <= rows else 0.0
    assert spent <= (1 - SCREEN) * 0.05 * (1 + 1e-6)
    assert spent >= 0.01 or rows < 60, "and little of it is wasted"


def test_a_rung_that_is_measured_later_never_lowers_the_level() -> None:
    known = [Counted(100, 1.0), Counted(100, 0.74)]
    levels_of = [levels([*known[:n], *[Untried()] * (6 - n)], 0.75, 0.05)[0] for n in (1, 2)]
    assert levels_of[0] <= levels_of[1] <= levels(known, 0.75, 0.05)[0]


def test_graded_rungs_share_as_right_or_wrong_ones_do() -> None:
    alone, pair = (levels([Measured(1.0, 0.02)] * n, 0.75, 0.05)[0] for n in (1, 2))
    assert alone == pytest.approx(0.048, rel=0.01) and pair == pytest.approx(0.024, rel=0.01)
    assert levels([Measured(1.0, 0.02), Measured(0.5, 0.02)], 0.75, 0.05)[0] == pytest.approx(0.048, rel=0.02)


# --- the order of proofs ----------------------------------------------------------------------------------------------


def test_the_cheapest_with_a_fair_chance_is_proved_and_else_the_surest() -> None:
    assert next_proof([0.2, FAIR, 0.99], 0, True) == 1
    assert next_proof([0.2, FAIR, 0.99], 0, False) == 2, "with rungs to come, only one that is surer"
    assert next_proof([0.2, 0.3, SURE - 0.01], 0, False) is None
    assert next_proof([0.2, 0.3, 0.25], 0, True) == 1
    assert next_proof([LEAST / 2, None], 0, True) is None and next_proof([0.9], MOST, True) is None


# --- the stated error, in simulation ----------------------------------------------------------------------------------

Draw = Callable[[np.random.Generator, float, int], np.ndarray]


def binary(rng: np.random.Generator, mean: float, n: int) -> np.ndarray:
    return (rng.random(n) < mean).astype(float)


def graded(rng: np.random.Generator, mean: float, n: int) -> np.ndarray:
    return rng.beta(mean, 1 - mean, n)


def mostly_perfect(rng: np.random.Generator, mean: float, n: int) -> np.ndarray:
    """Nine rows in ten are perfect, the others poor."""
    return np.where(rng.random(n) < 0.9, 1.0, rng.random(n) * 2 * (mean - 0.9) / 0.1)


def claimed(draw: Draw, means: tuple[float, ...], goal: float, seen: int, n: int, seed: int) -> int | None:
    """One climb that measures every rung and proves as `next_proof` says; the rung that is called good."""
    rng, m = np.random.default_rng([seed, n]), len(means)
    values = [draw(rng, mean, n) for mean in means]
    dev = [Rows(row[:seen]) for row in values]
    bounded = [evidence.bounds(rows, SCREEN * 0.05 / m).high for rows in dev]
    level = levels([evidence.candidate(*one, n - seen) for one in zip(dev, bounded)], goal, 0.05)
    chances: list[float | None] = [evidence.outlook(rows).chance(n - seen, goal, own) for rows, own in zip(dev, level)]
    for proved in range(MOST):
        rung = next_proof(chances, proved, True)
        if rung is None:
            break
        if evidence.bounds(Rows(values[rung]), level[rung]).low >= goal:
            return rung
        chances[rung] = None
    return None


@pytest.mark.parametrize("goal", [0.5, 0.75, 0.9, 0.97])
def test_rungs_just_under_the_goal_are_seldom_called_good(goal: float) -> None:
    runs, means = 250, (0.1, *[goal - 1e-4] * 5)
    wrong = sum(claimed(binary, means, goal, 40, 100, seed) is not None for seed in range(runs))
    assert wrong / runs <= most(0.05, runs)


@pytest.mark.parametrize(("draw", "goal"), [(graded, 0.75), (mostly_perfect, 0.95)])
def test_nor_are_graded_rungs(draw: Draw, goal: float, monkeypatch: pytest.MonkeyPatch) -> None:
    from functools import partial

    from rung.metrics import resample

    monkeypatch.setattr(resample, "bootstrap_interval", partial(resample.bootstrap_interval, resamples=500))
    runs, means = 60, (goal - 1e-4,) * 3
    wrong = sum(claimed(draw, means, goal, 40, 100, seed) is not None for seed in range(runs))
    assert wrong / runs <= most(0.05, runs)


def test_a_good_rung_is_mostly_proved_by_few_rows() -> None:
    """By Wilson bounds at an error of 0.05 / 7 on 60 dev rows it would be in about 0.3 of the climbs."""
    runs, means = 150, (0.11, 0.47, 0.83, 0.86, 0.5, 0.3, 0.6)
    assert sum(claimed(binary, means, 0.75, 60, 120, seed) in (2, 3) for seed in range(runs)) / runs > 0.7


def test_chances_come_true() -> None:
    """Of many rungs whose true score is drawn, as many are proved as the chances say together."""
    rng, said, done, n = np.random.default_rng(2), 0.0, 0, 600
    for _ in range(n):
        rate = rng.beta(8, 2)
        first, more = int(rng.binomial(50, rate)), int(rng.binomial(60, rate))
        said += evidence.outlook(right(first, 50)).chance(60, 0.75, 0.03)
        done += evidence.bounds(right(first + more, 110), 0.03).low >= 0.75
    assert abs(said - done) / n < 0.05
