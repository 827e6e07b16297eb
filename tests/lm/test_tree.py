"""Prefix trees against a naive dictionary of prefixes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.lm.trees import tree
from rung.lm.trees.tree import Row

# three tokens only: fronts are shared all the time, and equal rows happen
TOKENS = st.lists(st.integers(0, 2), min_size=1, max_size=8).map(tuple)


@st.composite
def row(draw: st.DrawFn) -> Row:
    tokens = draw(TOKENS)
    marks = draw(st.lists(st.booleans(), min_size=len(tokens) - 1, max_size=len(tokens) - 1))
    return Row(tokens, (False, *marks), draw(st.sampled_from([0.25, 1.0, 3.0])))


ROWS = st.lists(row(), min_size=1, max_size=8)


def prefix(built: tree.Tree | tree.Trie, node: int) -> tuple[int, ...]:
    """The tokens from the root to a node, which name it."""
    path: list[int] = []
    while node >= 0:
        path.append(int(built.tokens[node]))
        node = int(built.parent[node])
    return tuple(path[::-1])


@given(st.lists(TOKENS, max_size=8))
def test_trie_holds_each_prefix_once_and_finds_each_sequence(sequences: list[tuple[int, ...]]) -> None:
    merged = tree.trie(sequences)
    named = [prefix(merged, node) for node in range(len(merged.tokens))]
    assert sorted(named) == sorted({s[:k] for s in sequences for k in range(1, len(s) + 1)})
    assert len(merged.paths) == len(sequences)
    for sequence, path in zip(sequences, merged.paths):
        assert [named[node] for node in path] == [sequence[:k] for k in range(1, len(sequence) + 1)]


@given(ROWS)
def test_build_keeps_every_prefix_that_something_follows(rows: list[Row]) -> None:
    built = tree.build(rows)
    wanted = {r.tokens[:k] for r in rows for k in range(1, len(r.tokens))}
    named = [prefix(built, node) for node in range(len(built.tokens))]
    assert sorted(named) == sorted(wanted)
    assert built.depth.tolist() == [len(name) - 1 for name in named]
    assert built.rows == len(rows)


@given(ROWS)
def test_a_node_sees_itself_and_its_ancestors_and_nothing_else(rows: list[Row]) -> None:
    built = tree.build(rows)
    named = [prefix(built, node) for node in range(len(built.tokens))]
    naive = np.array([[b == a[: len(b)] for b in named] for a in named], bool).reshape(len(named), len(named))
    assert (built.mask == naive).all()
    for i, name in enumerate(named):
        below = [j for j, other in enumerate(named) if other[: len(name)] == name]
        assert below == list(range(i, built.end[i]))


@given(ROWS)
def test_targets_are_counted_as_often_as_rows_have_them(rows: list[Row]) -> None:
    built = tree.build(rows)
    naive: Counter[tuple[int, ...]] = Counter()
    owners: Counter[tuple[int, tuple[int, ...]]] = Counter()
    for i, r in enumerate(rows):
        for k, marked in enumerate(r.targets):
            if marked:
                naive[r.tokens[: k + 1]] += r.weight  # type: ignore[assignment]
                owners[i, r.tokens[: k + 1]] += 1
    names = [(*prefix(built, int(n)), int(t)) for n, t in zip(built.target_node, built.target_token)]
    assert len(set(names)) == len(names), "a target stands there twice"
    assert dict(zip(names, built.target_weight)) == pytest.approx(dict(naive))
    assert Counter((int(r), names[t]) for r, t in zip(built.pair_row, built.pair_target)) == owners


@given(ROWS, st.integers(1, 30), st.randoms())
def test_split_rows_keeps_every_row_once_within_the_budget(rows: list[Row], budget: int, random) -> None:
    chosen = list(range(len(rows)))
    random.shuffle(chosen)
    parts = tree.split_rows(rows, chosen, budget)
    assert [i for part in parts for i in part] == chosen
    for part in parts:
        assert part
        nodes = tree.count([rows[i] for i in part])[1]
        assert nodes <= budget or len(part) == 1


@given(ROWS)
def test_parts_of_split_rows_are_not_smaller_than_they_need_be(rows: list[Row]) -> None:
    assert len(tree.split_rows(rows, range(len(rows)), budget=10_000)) == 1


@given(ROWS, st.integers(1, 5), st.randoms())
def test_split_evenly_holds_every_row_once_and_neighbours_together(rows: list[Row], count: int, random) -> None:
    chosen = list(range(len(rows)))
    random.shuffle(chosen)
    found = tree.split_evenly([(r,) for r in rows], chosen, count)
    assert len(found) == count
    assert [i for share in found for i in share] == chosen


def test_split_evenly_ignores_the_shared_prefix() -> None:
    front, marks = tuple(range(3, 103)), (False,) * 102 + (True,)
    rows = [Row((*front, 200 + i, 1, 2), marks) for i in range(12)]
    for count in (1, 2, 3, 4):
        assert {len(share) for share in tree.split_evenly([(r,) for r in rows], range(12), count)} == {12 // count}
    equal = [Row((*front, 0, 1, 2), marks)] * 4
    assert [len(share) for share in tree.split_evenly([(r,) for r in equal], range(4), 2)] == [2, 2]


def test_nothing_makes_an_empty_tree() -> None:
    assert len(tree.build([]).tokens) == 0
    assert tree.split_rows([], [], 10) == []
    assert tree.count([]) == (0, 0)


def test_one_token_alone_is_no_node() -> None:
    built = tree.build([Row((7,), (False,))])
    assert (len(built.tokens), len(built.target_node), built.rows) == (0, 0, 1)


def test_equal_rows_cost_one_and_weigh_both() -> None:
    one = Row((1, 2, 3), (False, True, True))
    built = tree.build([one, one])
    assert built.tokens.tolist() == [1, 2]
    assert built.target_weight.tolist() == [2.0, 2.0]
    assert tree.count([one, one]) == (6, 3)


def test_a_row_that_is_the_front_of_another() -> None:
    built = tree.build([Row((1, 2), (False, True)), Row((1, 2, 3), (False, True, True), 2.0)])
    assert built.tokens.tolist() == [1, 2]
    assert built.target_weight.tolist() == [3.0, 2.0]


def test_a_deep_chain_takes_no_recursion() -> None:
    n = 5000
    built = tree.build([Row(tuple(range(n)), (False,) + (True,) * (n - 1))])
    assert built.depth.tolist() == list(range(n - 1))
    assert set(built.end.tolist()) == {n - 1}


def test_a_first_token_cannot_be_a_target() -> None:
    with pytest.raises(ValueError, match="first token"):
        Row((1, 2), (True, True))
    with pytest.raises(ValueError, match="got 1 for 2 tokens"):
        Row((1, 2), (False,))
