"""Rows that share a long prefix come into one step; others are shuffled as ever."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from rung.lm.training import order
from rung.lm.trees.tree import Row


def row(*tokens: int) -> Row:
    return Row(tokens, (False,) * (len(tokens) - 1) + (True,))


FRONT = (1, 2, 3, 4, 5, 6, 7, 8)


def test_rows_are_grouped_by_what_they_share_beyond_what_all_do() -> None:
    rows = [
        row(*FRONT, 9, 9, 9, 1),
        row(*FRONT, 20, 21),
        row(*FRONT, 9, 9, 9, 2),
        row(*FRONT, 9, 30, 31, 32),
        row(*FRONT, 22, 21),
    ]
    assert order.groups(rows) == [[0, 2], [1], [3], [4]]
    assert order.groups([]) == []
    assert order.groups(rows[:1]) == [[0]]


@pytest.mark.parametrize("seed", range(4))
def test_rows_alone_are_shuffled_as_a_permutation(seed: int) -> None:
    assert order.shuffled([[i] for i in range(30)], 8, seed) == np.random.default_rng(seed).permutation(30).tolist()


def test_rows_of_a_group_follow_each_other_in_short_runs() -> None:
    groups = [[0, 1, 2, 3, 4], [5], [6, 7], [8], [9]]
    orders = [order.shuffled(groups, 4, seed) for seed in range(20)]
    assert all(sorted(one) == list(range(10)) for one in orders)
    for one in orders:
        places = sorted(one.index(i) for i in groups[0])
        assert sum(b - a == 1 for a, b in pairwise(places)) >= 3, "three rows, and two"
        steps = [{*one[start : start + 4]} for start in range(0, 10, 4)]
        assert any({6, 7} <= step for step in steps)
    assert len({tuple(one) for one in orders}) == 20
    assert order.shuffled(groups, 4, 5) == order.shuffled(groups, 4, 5)


def test_only_a_run_that_fits_nowhere_is_split_over_two_steps() -> None:
    groups = [list(range(start, start + 5)) for start in range(0, 40, 5)]
    found = order.shuffled(groups, 8, 0)
    assert sorted(found) == list(range(40))
    pieces = [len({i // 5 for i in found[start : start + 8]}) for start in range(0, 40, 8)]
    assert sum(pieces) == 12, "eight groups and four of them in two"
