"""Prefix trees: token sequences merged so that a token after the same prefix is computed once.

A causal model gives a token the same hidden state wherever the tokens before it are the same, so a batch of sequences
is a forest. Its nodes are stored in preorder. A node attends to itself and its ancestors, and its position is its depth. A
token that is only ever a target (the last of a sequence) needs no hidden state and is not a node.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Row:
    """One sequence for the loss."""

    tokens: tuple[int, ...]
    targets: tuple[bool, ...]
    """Which tokens are predicted; same length as `tokens`. The first never is."""
    weight: float = 1.0
    """Weight of each target token of this row."""

    def __post_init__(self) -> None:
        if len(self.tokens) != len(self.targets):
            raise ValueError(f"a row needs one target mark per token, got {len(self.targets)} for {len(self.tokens)} tokens")
        if self.targets and self.targets[0]:
            raise ValueError("the first token of a row cannot be a target: nothing predicts it")


@dataclass(frozen=True, slots=True)
class Tree:
    """A forest of S token sequences as one row of N nodes, with T targets."""

    tokens: Ints  # (N,)
    parent: Ints  # (N,) index of the node before, -1 at a root
    depth: Ints  # (N,) position: number of nodes before
    end: Ints  # (N,) one past the last descendant; descendants of i are i+1 … end[i]-1
    target_node: Ints  # (T,) node whose logits predict the target
    target_token: Ints  # (T,)
    pair_row: Ints  # (P,) a row …
    pair_target: Ints  # (P,) … and one of its targets; a target shared by rows is computed once and counted for each
    pair_weight: NDArray[np.float64]  # (P,)
    rows: int  # S

    @property
    def target_weight(self) -> NDArray[np.float64]:
        """Weight of each target summed over the rows that share it; (T,)."""
        return np.bincount(self.pair_target, self.pair_weight, minlength=len(self.target_token)).astype(np.float64)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(N, N): true where the row's node attends to the column's node: itself and its ancestors."""
        index = np.arange(len(self.tokens))
        return (index[None, :] <= index[:, None]) & (index[:, None] < self.end[None, :])


@dataclass(frozen=True, slots=True)
class Trie:
    """Merged sequences, every token a node, in preorder."""

    tokens: Ints
    parent: Ints
    paths: tuple[Ints, ...]
    """For each sequence, in the order given, the node of each of its tokens."""


def trie(sequences: Sequence[Sequence[int]]) -> Trie:
    """Merge sequences into a prefix tree. Sorting puts shared prefixes next to each other, so one pass is enough."""
    order = sorted(range(len(sequences)), key=lambda i: tuple(sequences[i]))
    tokens: list[Ints] = []
    parents: list[Ints] = []
    paths: list[Ints] = [np.zeros(0, np.int64)] * len(sequences)
    before, before_path, count = np.zeros(0, np.int64), np.zeros(0, np.int64), 0
    for i in order:
        sequence = np.asarray(sequences[i], np.int64)
        shared = common_prefix(before, sequence)
        new = np.arange(count, count + len(sequence) - shared)
        path = np.concatenate([before_path[:shared], new])
        tokens.append(sequence[shared:])
        parents.append(np.concatenate([[-1], path[:-1]])[shared:])
        paths[i], before, before_path = path, sequence, path
        count += len(new)
    return Trie(np.concatenate([*tokens, EMPTY]), np.concatenate([*parents, EMPTY]), tuple(paths))


def shared_prefix(ids: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The longest common prefix of all prompts, without the last token of the shortest: each prompt keeps a node of its own."""
    prefix = os.path.commonprefix([*ids])  # noqa: RUF071 (of tuples; no paths here)
    return tuple(prefix[: min(len(prefix), min(map(len, ids)) - 1)])


def common_prefix(a: Ints, b: Ints) -> int:
    """Length of the longest common prefix of two sequences."""
    n = min(len(a), len(b))
    differ = np.flatnonzero(a[:n] != b[:n])
    return int(differ[0]) if len(differ) else n


def build(rows: Sequence[Row]) -> Tree:
    """Merge rows into a tree with their targets."""
    merged = trie([row.tokens for row in rows])
    size = len(merged.tokens)
    inner = np.zeros(size, bool)
    inner[merged.parent[merged.parent >= 0]] = True
    place = np.cumsum(inner) - 1  # index of an inner node after the leaves are removed
    parent = merged.parent[inner]
    parent = np.where(parent >= 0, place[parent], -1)
    depth = _depth(parent)

    marks = [path[np.asarray(row.targets, bool)] for row, path in zip(rows, merged.paths)]
    pair_node = np.concatenate([*marks, EMPTY])
    target_nodes, pair_target = np.unique(pair_node, return_inverse=True)
    lengths = [len(mark) for mark in marks]
    return Tree(
        tokens=merged.tokens[inner],
        parent=parent,
        depth=depth,
        end=_end(parent),
        target_node=place[merged.parent[target_nodes]],
        target_token=merged.tokens[target_nodes],
        pair_row=np.repeat(np.arange(len(rows)), lengths),
        pair_target=pair_target.astype(np.int64),
        pair_weight=np.repeat(np.array([row.weight for row in rows], np.float64), lengths),
        rows=len(rows),
    )


def split_rows(rows: Sequence[Row], chosen: Sequence[int], budget: int) -> list[list[int]]:
    """Split a step into parts of at most `budget` nodes (shared tokens count once); a longer row is a part of its own."""
    return split_groups([(row,) for row in rows], chosen, budget)


def split_groups(groups: Sequence[Sequence[Row]], chosen: Sequence[int], budget: int) -> list[list[int]]:
    """The same for rows in groups (a pair, the samples of a prompt), which are never split."""
    parts: list[list[int]] = []
    current: list[int] = []
    shared: Ints = EMPTY
    nodes = 0
    for i in chosen:
        tokens, size = _shared_and_size(groups[i])
        overlap = common_prefix(shared, tokens) if current else 0
        if current and nodes + size - overlap > budget:
            parts.append(current)
            current, nodes, overlap = [], 0, 0
        shared = tokens if not current else shared[:overlap]
        nodes += size - overlap
        current.append(i)
    return [*parts, current] if current else parts


def split_evenly(groups: Sequence[Sequence[Row]], chosen: Sequence[int], count: int) -> list[list[int]]:
    """Split a step into `count` runs of neighbours with about the same number of unshared tokens; a run may be empty."""
    if count == 1:
        return [list(chosen)]
    prefixes = [_shared_and_size(groups[i]) for i in chosen]
    common = [common_prefix(a, b) for (a, _), (b, _) in pairwise(prefixes)]
    own = np.array([1 + size - max(near) for (_, size), near in zip(prefixes, zip([0, *common], [*common, 0]))])
    owner = ((np.cumsum(own) - own / 2) * count / own.sum()).astype(int)
    return [[i for i, of in zip(chosen, owner) if of == run] for run in range(count)]


def _shared_and_size(group: Sequence[Row]) -> tuple[Ints, int]:
    """The common prefix of a group's rows, and the number of nodes of their tree."""
    if len(group) == 1:
        return np.asarray(group[0].tokens, np.int64), len(group[0].tokens)
    first, last = (np.asarray(end(row.tokens for row in group), np.int64) for end in (min, max))
    return first[: common_prefix(first, last)], count(group)[1]


def count(rows: Iterable[Row]) -> tuple[int, int]:
    """Tokens of all rows, and nodes after merging them into one tree."""
    listed = list(rows)
    return sum(len(row.tokens) for row in listed), len(trie([row.tokens for row in listed]).tokens)


EMPTY = np.zeros(0, np.int64)


def _depth(parent: Ints) -> Ints:
    depth = np.zeros(len(parent), np.int64)
    for i, p in enumerate(parent.tolist()):  # preorder: parents before children
        if p >= 0:
            depth[i] = depth[p] + 1
    return depth


def _end(parent: Ints) -> Ints:
    end = np.arange(1, len(parent) + 1)
    for i in range(len(parent) - 1, -1, -1):  # reverse preorder: descendants before their ancestors
        p = parent[i]
        if p >= 0 and end[i] > end[p]:
            end[p] = end[i]
    return end
