"""Prefix trees: token sequences merged so that a token standing behind the same tokens is computed once.

A causal model gives a token the same hidden state wherever the tokens before it are the same, so a batch of sequences
is a forest. Its nodes lie in preorder in one row; a node sees itself and its ancestors; its position is its depth. A
token that is only ever a target (the last of a sequence) needs no hidden state and is no node.
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
    """Which tokens are to be predicted; same length as `tokens`. The first can never be."""
    weight: float = 1.0
    """Weight of each target token of this row."""

    def __post_init__(self) -> None:
        if len(self.tokens) != len(self.targets):
            raise ValueError(f"{len(self.tokens)} tokens but {len(self.targets)} target marks")
        if self.targets and self.targets[0]:
            raise ValueError("the first token of a row has nothing before it and cannot be a target")


@dataclass(frozen=True, slots=True)
class Tree:
    """A forest of token sequences in one row of N nodes, with T targets of S sequences."""

    tokens: Ints  # (N,)
    parent: Ints  # (N,) index of the node before, -1 at a root
    depth: Ints  # (N,) position: number of nodes before
    end: Ints  # (N,) one past the last descendant; descendants of i are i+1 … end[i]-1
    target_node: Ints  # (T,) node whose logits predict the target
    target_token: Ints  # (T,)
    pair_row: Ints  # (P,) which row …
    pair_target: Ints  # (P,) … has which target; a target shared by rows is computed once and counted for each
    pair_weight: NDArray[np.float64]  # (P,)
    rows: int  # S

    @property
    def target_weight(self) -> NDArray[np.float64]:
        """Weight of each target summed over the rows that share it; (T,)."""
        return np.bincount(self.pair_target, self.pair_weight, minlength=len(self.target_token)).astype(np.float64)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(N, N): true where the node of the row may see the node of the column, itself and its ancestors."""
        index = np.arange(len(self.tokens))
        return (index[None, :] <= index[:, None]) & (index[:, None] < self.end[None, :])


@dataclass(frozen=True, slots=True)
class Trie:
    """The merged sequences themselves, every token a node, in preorder."""

    tokens: Ints
    parent: Ints
    paths: tuple[Ints, ...]
    """For each sequence, in the order given, the node of each of its tokens."""


def trie(sequences: Sequence[Sequence[int]]) -> Trie:
    """Merge sequences into a prefix tree. Sorting puts shared prefixes side by side, so one pass over neighbours is enough."""
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
    return Trie(np.concatenate([*tokens, _NONE]), np.concatenate([*parents, _NONE]), tuple(paths))


def shared_front(ids: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """What all prompts begin with, short of the last token of the shortest: a prompt must keep a node of its own."""
    front = os.path.commonprefix([*ids])  # noqa: RUF071 (of tuples; no paths here)
    return tuple(front[: min(len(front), min(map(len, ids)) - 1)])


def common_prefix(a: Ints, b: Ints) -> int:
    """How many tokens two sequences share in front."""
    n = min(len(a), len(b))
    differ = np.flatnonzero(a[:n] != b[:n])
    return int(differ[0]) if len(differ) else n


def build(rows: Sequence[Row]) -> Tree:
    """Merge rows into a tree with their targets."""
    merged = trie([row.tokens for row in rows])
    size = len(merged.tokens)
    inner = np.zeros(size, bool)
    inner[merged.parent[merged.parent >= 0]] = True
    place = np.cumsum(inner) - 1  # index of an inner node once the leaves are gone
    parent = merged.parent[inner]
    parent = np.where(parent >= 0, place[parent], -1)
    depth = _depth(parent)

    marks = [path[np.asarray(row.targets, bool)] for row, path in zip(rows, merged.paths)]
    pair_node = np.concatenate([*marks, _NONE])
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


def cut(rows: Sequence[Row], chosen: Sequence[int], budget: int) -> list[list[int]]:
    """Cut a step into parts whose tokens, shared ones counted once, stay within `budget`; a longer row stands alone."""
    return cut_groups([(row,) for row in rows], chosen, budget)


def cut_groups(groups: Sequence[Sequence[Row]], chosen: Sequence[int], budget: int) -> list[list[int]]:
    """The same for rows that come in groups (a pair, the samples of a prompt), which are never cut apart."""
    parts: list[list[int]] = []
    current: list[int] = []
    shared: Ints = _NONE
    nodes = 0
    for i in chosen:
        tokens, size = _front(groups[i])
        front = common_prefix(shared, tokens) if current else 0
        if current and nodes + size - front > budget:
            parts.append(current)
            current, nodes, front = [], 0, 0
        shared = tokens if not current else shared[:front]
        nodes += size - front
        current.append(i)
    return [*parts, current] if current else parts


def shares(groups: Sequence[Sequence[Row]], chosen: Sequence[int], count: int) -> list[list[int]]:
    """Cut a step into `count` runs of neighbours with about as many tokens that are not shared; a run may be empty."""
    if count == 1:
        return [list(chosen)]
    fronts = [_front(groups[i]) for i in chosen]
    common = [common_prefix(a, b) for (a, _), (b, _) in pairwise(fronts)]
    own = np.array([1 + size - max(near) for (_, size), near in zip(fronts, zip([0, *common], [*common, 0]))])
    owner = ((np.cumsum(own) - own / 2) * count / own.sum()).astype(int)
    return [[i for i, of in zip(chosen, owner) if of == run] for run in range(count)]


def _front(group: Sequence[Row]) -> tuple[Ints, int]:
    """What all rows of a group begin with, and the nodes of their tree."""
    if len(group) == 1:
        return np.asarray(group[0].tokens, np.int64), len(group[0].tokens)
    first, last = (np.asarray(end(row.tokens for row in group), np.int64) for end in (min, max))
    return first[: common_prefix(first, last)], count(group)[1]


def count(rows: Iterable[Row]) -> tuple[int, int]:
    """Tokens as they stand, and nodes once merged into one tree."""
    listed = list(rows)
    return sum(len(row.tokens) for row in listed), len(trie([row.tokens for row in listed]).tokens)


_NONE = np.zeros(0, np.int64)


def _depth(parent: Ints) -> Ints:
    depth = np.zeros(len(parent), np.int64)
    for i, p in enumerate(parent.tolist()):  # preorder: the parent is known before the child
        if p >= 0:
            depth[i] = depth[p] + 1
    return depth


def _end(parent: Ints) -> Ints:
    end = np.arange(1, len(parent) + 1)
    for i in range(len(parent) - 1, -1, -1):  # reverse preorder: all descendants are done before the node
        p = parent[i]
        if p >= 0 and end[i] > end[p]:
            end[p] = end[i]
    return end
