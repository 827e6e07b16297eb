"""Bootstrap and randomisation against exact values, Student's interval and their own stated error."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from rung.metrics import resample


def test_bootstrap_of_a_mean_is_near_students_interval() -> None:
    values = np.random.default_rng(3).normal(0.6, 0.1, 12)
    found, reach = resample.bootstrap_interval(values, resamples=50_000), 2.201 * values.std(ddof=1) / 12**0.5
    assert found.value == pytest.approx(values.mean()) and found.n == 12
    assert (found.high - found.low) == pytest.approx(2 * reach, rel=0.03)


def test_bootstrap_draws_whole_clusters() -> None:
    values = np.random.default_rng(4).random(30)
    copied, clusters = np.repeat(values, 5), np.repeat(np.arange(30), 5).tolist()
    once, whole, naive = (
        resample.bootstrap_interval(values),
        resample.bootstrap_interval(copied, clusters),
        resample.bootstrap_interval(copied),
    )
    assert (whole.low, whole.high) == pytest.approx((once.low, once.high))
    assert naive.high - naive.low < 0.6 * (whole.high - whole.low)


def test_bootstrap_is_the_same_for_the_same_seed_and_not_for_another() -> None:
    values = np.random.default_rng(5).random(40)
    assert resample.bootstrap_interval(values) == resample.bootstrap_interval(values)
    assert resample.bootstrap_interval(values) != resample.bootstrap_interval(values, seed=1)


def test_chunks_do_not_change_what_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(6).random(40)
    whole = resample.bootstrap_interval(values)
    monkeypatch.setattr(resample, "_CHUNK", 999)
    pieces = resample.bootstrap_interval(values)
    assert (pieces.low, pieces.high) == pytest.approx((whole.low, whole.high), abs=0.01)


def test_limits_leave_room_for_what_was_not_seen() -> None:
    perfect = resample.bootstrap_interval([1.0] * 50, confidence=0.9, limits=(0, 1))
    assert perfect.high == 1.0
    assert perfect.low == pytest.approx(0.05 ** (1 / 50), abs=0.01)  # the exact one-sided bound of 50 of 50
    assert resample.bootstrap_interval([1.0], limits=(0, 1)).low == 0.0


def test_bounds_with_limits_err_no_more_than_stated_on_skewed_rows() -> None:
    rng, wrong, tries = np.random.default_rng(7), 0, 200
    for _ in range(tries):
        rows = np.where(rng.random(50) < 0.9, 1.0, rng.random(50))
        wrong += resample.bootstrap_interval(rows, resamples=1000, confidence=0.9, limits=(0, 1)).low > 0.95
    assert wrong / tries <= 0.05


def test_paired_bootstrap_is_narrower_than_the_rows_vary() -> None:
    rng = np.random.default_rng(8)
    a = rng.random(60) * 0.9
    b = a + 0.05 + rng.normal(0, 0.01, 60)
    found = resample.paired_bootstrap(a, b)
    assert 0.04 < found.low < found.value < found.high < 0.06
    assert resample.paired_bootstrap(b, a).value == pytest.approx(-found.value)


def test_rows_that_never_differ_still_leave_doubt() -> None:
    same = resample.paired_bootstrap([0.5] * 20, [0.5] * 20)
    assert same.low < 0 < same.high and same.value == 0


def test_paired_bootstrap_covers() -> None:
    rng, held, tries = np.random.default_rng(9), 0, 200
    for _ in range(tries):
        a = rng.random(30)
        found = resample.paired_bootstrap(a, a + rng.exponential(0.1, 30), resamples=1000)
        held += found.low <= 0.1 <= found.high
    assert held / tries >= 0.89


def test_sign_flip_nears_the_full_enumeration() -> None:
    d = np.array([0.3, 0.1, -0.05, 0.2, 0.15, 0.02])
    exact = np.mean([abs(np.dot(s, d)) >= abs(d.sum()) - 1e-12 for s in itertools.product((-1, 1), repeat=6)])
    assert resample.sign_flip(np.zeros(6), d) == pytest.approx(exact, abs=0.01)


def test_sign_flip_moves_whole_clusters() -> None:
    d, clusters = np.full(40, 0.1), [i // 20 for i in range(40)]
    assert resample.sign_flip(np.zeros(40), d) == pytest.approx(1 / 10_001)  # rarest there is, and never zero
    assert resample.sign_flip(np.zeros(40), d, clusters) == pytest.approx(0.5, abs=0.03)  # two clusters: 2 of 4 signs


def test_sign_flip_keeps_its_level() -> None:
    rng = np.random.default_rng(10)
    p = [resample.sign_flip(rng.random(20), rng.random(20), resamples=400) for _ in range(300)]
    assert np.mean(np.array(p) <= 0.05) <= 0.09
