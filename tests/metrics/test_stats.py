"""Intervals, tests and sample sizes against hand-computed and published values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from rung.metrics import stats

share = st.floats(0.02, 0.98)


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_published_values(k: int, n: int, low: float, high: float) -> None:
    """Newcombe (1998), Statistics in Medicine 17:857, table I, method 3."""
    found = stats.wilson(k, n)
    assert (found.low, found.high) == pytest.approx((low, high), abs=6e-5)
    assert found.value == k / n and found.n == n


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.5, 0.999))
def test_wilson_agrees_with_scipy(counts: tuple[int, int], confidence: float) -> None:
    found, known = stats.wilson(*counts, confidence), binomtest(*counts).proportion_ci(confidence, "wilson")
    assert (found.low, found.high) == pytest.approx((known.low, known.high), abs=1e-9)


def test_no_rows_say_nothing() -> None:
    assert stats.wilson(0, 0) == stats.Interval(0.0, 0.0, 1.0, 0)


def test_wilson_covers_its_share_for_every_rate() -> None:
    for p in (0.5, 0.7, 0.9):
        found = [stats.wilson(k, 60) for k in range(61)]
        covered = sum(binom.pmf(k, 60, p) for k, i in enumerate(found) if i.low <= p <= i.high)
        assert covered > 0.93


def test_effective_rows_of_clusters() -> None:
    clusters = [i // 4 for i in range(40)]
    alike = [float(c % 2) for c in clusters]  # four rows of a cluster say one thing: 10 rows, with the 9/10 of variance
    assert stats.effective_rows(alike, clusters) == pytest.approx(9.0)
    assert stats.effective_rows([0.0, 1.0] * 20, clusters) == 40  # within a cluster all is balanced: never above n
    assert stats.effective_rows([1.0] * 40, clusters) == 10


def test_mcnemar_by_hand() -> None:
    assert stats.mcnemar_exact(1, 7) == pytest.approx(2 * 9 / 256)
    assert stats.mcnemar_mid_p(1, 7) == pytest.approx(2 * 9 / 256 - 8 / 256)
    assert [stats.mcnemar_mid_p(0, 0), stats.mcnemar_mid_p(6, 6)] == pytest.approx([1.0, 1.0])
    assert stats.mcnemar_exact(6, 6) == 1.0


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_symmetric_and_mid_p_is_the_bolder(b: int, c: int) -> None:
    assert stats.mcnemar_mid_p(b, c) == pytest.approx(stats.mcnemar_mid_p(c, b))
    assert stats.mcnemar_mid_p(b, c) <= stats.mcnemar_exact(b, c) + 1e-12


def test_tango_gives_the_published_interval() -> None:
    """Fagerland, Lydersen and Laake (2014), Statistics in Medicine 33:2850, the airway data: 1 and 7 of 21."""
    found = stats.paired_difference(7, 1, 21)
    assert found.value == pytest.approx(-6 / 21)
    assert (found.low, found.high) == pytest.approx((-0.517, -0.026), abs=6e-4)


@pytest.mark.parametrize("n", [1, 5, 50])
def test_tango_at_the_edges(n: int) -> None:
    z2 = 1.959964**2
    never = stats.paired_difference(0, 0, n)
    assert (never.low, never.high) == pytest.approx((-z2 / (n + z2), z2 / (n + z2)), abs=1e-6)
    always = stats.paired_difference(n, 0, n)
    assert always.low == always.value == -1.0 and -1 < always.high < 1
    assert stats.paired_difference(0, 0, 0) == stats.Interval(0.0, -1.0, 1.0, 0)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 60))
def test_tango_mirrors_and_holds_its_estimate(b: int, c: int, same: int) -> None:
    n = b + c + same
    found, mirrored = stats.paired_difference(b, c, n), stats.paired_difference(c, b, n)
    assert -1 <= found.low <= found.value <= found.high <= 1
    assert (found.low, found.high) == pytest.approx((-mirrored.high, -mirrored.low))


def test_quantile_interval_takes_the_tabled_ranks() -> None:
    found = stats.quantile_interval(list(range(1, 101)), 0.5)
    assert (found.low, found.high, found.n) == (40, 61, 100)  # the table's 40th and 61st of 100
    assert found.value == 50.5


@given(st.lists(st.floats(0, 1e4), min_size=1, max_size=50), st.sampled_from([0.05, 0.5, 0.95, 0.99]))
def test_quantile_interval_holds_its_estimate(values: list[float], q: float) -> None:
    found = stats.quantile_interval(values, q)
    assert min(values) <= found.low <= found.value <= found.high <= max(values)


def test_holm_by_hand() -> None:
    assert stats.holm([0.01, 0.04, 0.03]) == pytest.approx((0.03, 0.06, 0.06))
    assert stats.holm([0.5, 0.9]) == pytest.approx((1.0, 1.0))
    assert stats.holm([]) == ()


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_keeps_order_and_stands_between_none_and_bonferroni(p: list[float]) -> None:
    adjusted = stats.holm(p)
    for i, raw in enumerate(p):
        assert raw <= adjusted[i] <= 1
        assert adjusted[i] <= max(min(1.0, len(p) * q) for q in p if q <= raw)
        assert all(adjusted[j] <= adjusted[i] for j in range(len(p)) if p[j] < raw)


@pytest.mark.parametrize(("n", "points"), [(100, (8.2, 12.1, 15.1)), (300, (5.0, 7.1, 8.8)), (1000, (2.8, 3.9, 4.8))])
def test_smallest_difference_gives_the_planning_numbers(n: int, points: tuple[float, ...]) -> None:
    found = [100 * (stats.smallest_difference(n, d) or 0) for d in (0.1, 0.2, 0.3)]
    assert found == pytest.approx(points, abs=0.06)


def test_some_differences_can_never_be_shown() -> None:
    assert stats.smallest_difference(50, 0.1) is None
    assert stats.smallest_difference(100, 0.0) is None


def test_smallest_difference_has_the_power_it_says() -> None:
    n, d = 150, 0.2
    delta = stats.smallest_difference(n, d)
    assert delta is not None
    draws = np.random.default_rng(11).multinomial(n, [(d + delta) / 2, (d - delta) / 2, 1 - d], 1500)
    found = {(b, c): stats.mcnemar_mid_p(b, c) for b, c in {(b, c) for b, c, _ in draws.tolist()}}
    assert np.mean([found[b, c] <= 0.05 for b, c, _ in draws.tolist()]) == pytest.approx(0.8, abs=0.035)


@given(share, share, st.floats(0.001, 0.2))
def test_rows_needed_is_where_the_bound_reaches_the_goal(p: float, goal: float, alpha: float) -> None:
    n = stats.rows_needed(p, goal, alpha)
    if n >= stats.MAX_ROWS:
        return

    def settled(rows: int) -> bool:
        if p > goal:
            return stats.wilson_lower(p, rows, alpha) >= goal - 1e-9
        return stats.wilson(p * rows, rows, 1 - 2 * alpha).high <= goal + 1e-9

    assert settled(n)
    assert n < 3 or not settled(n - 2 - n // 10_000)  # of so many rows one moves the bound by less than the rounding


def test_rows_needed_gives_up_on_the_goal_itself() -> None:
    assert stats.rows_needed(0.8, 0.8) == stats.rows_needed(0.80001, 0.8) == stats.MAX_ROWS
    assert stats.rows_needed(0.9, 0.8) == 44  # 1.645² · 0.16 / 0.01 = 43.3
