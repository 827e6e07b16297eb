"""Retrieval metrics against values worked out by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.metrics import retrieval as r


def test_ndcg_by_hand() -> None:
    # gold at ranks 1 and 3 of two: (1 + 1/2) / (1 + 1/log2(3))
    assert r.ndcg(["a", "x", "b"], {"a", "b"}) == pytest.approx((1 + 0.5) / (1 + 1 / math.log2(3)))
    assert r.ndcg(["x", "y", "z", "a"], {"a"}) == pytest.approx(1 / math.log2(5))
    assert r.ndcg([*"0123456789", "a"], {"a"}) == 0.0
    assert r.ndcg(["a", "b"], {"a", "b", "c"}, k=2) == 1.0


def test_recall_and_reciprocal_rank_by_hand() -> None:
    assert r.recall([*"abcde", "f"], {"e", "f"}, k=5) == 0.5
    assert r.reciprocal_rank(["x", "y", "a", "b"], {"b", "a"}) == pytest.approx(1 / 3)
    assert r.reciprocal_rank([], {"a"}) == 0.0


def test_a_name_found_twice_counts_once() -> None:
    assert r.ndcg(["a", "a"], {"a", "b"}) == pytest.approx(1 / (1 + 1 / math.log2(3)))
    assert r.recall(["a", "a"], {"a", "b"}) == 0.5


def test_scores_are_means_with_intervals() -> None:
    found = r.scores([["a"], ["x", "b"], ["x"]], [{"a"}, {"b"}, {"c"}])
    rows, mean = found["MRR@10"]
    assert rows == (1.0, 0.5, 0.0)
    assert mean.value == pytest.approx(0.5)
    assert mean.low < 0.5 < mean.high and mean.n == 3


@given(st.permutations("abcdefgh"), st.sets(st.sampled_from("abcdefgh"), min_size=1))
def test_bounds_and_the_best_ranking(ranking: list[str], gold: set[str]) -> None:
    assert 0 <= r.ndcg(ranking, gold) <= 1 + 1e-12
    best = sorted(ranking, key=lambda name: name not in gold)
    assert r.ndcg(best, gold) == pytest.approx(1.0)
    assert r.reciprocal_rank(best, gold) == 1.0
