"""Which queries a step of a running batch has, and what each attends to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from rung.lm.models.serving import Adapter, Ranges
from rung.lm.trees import tree
from rung.lm.trees.radix import Node
from rung.lm.trees.slots import Slots
from rung.lm.trees.spans import Span, Step
from rung.lm.trees.tree import Ints


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of a prompt that is read in one step, after what the radix tree has of it."""

    node: Node
    tokens: tuple[int, ...]
    last: int | None
    """The prompt's last token, if the slice ends before it: the row then begins in the same step."""
    adapter: Adapter | None = None


@dataclass(frozen=True, slots=True)
class Query:
    """The token that a running row is asked with."""

    chain: Sequence[Node]
    token: int
    depth: int
    length: int
    """Tokens of the row in its slot."""
    adapter: Adapter | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """The queries of a step as the model takes them."""

    step: Step
    tokens: Ints
    """(n,)"""
    paths: Sequence[Ints]
    """Of each slice, the query of each of its tokens."""
    ranges: Ranges
    """Neighbouring queries of each adapter."""


@dataclass(slots=True)
class _Entry:
    """Neighbouring queries with the same nodes before them."""

    chain: Sequence[Node]
    row: int
    """The row that is asked; -1 for slices of prompts."""
    slices: Sequence[int]
    tokens: Ints
    depth: Ints
    adapter: Adapter | None
    at: int = 0


def layout(queries: Sequence[Query], slices: Sequence[Slice], slots: Slots, device: Any) -> Layout:
    """The step that asks running rows for their next token and reads slices of prompts.

    Slices after the same node are merged: what they share is computed once. Rows that begin come after the running ones, in
    the order of their slices.
    """
    starts = [k for k, one in enumerate(slices) if one.last is not None]
    entries = [
        _Entry(one.chain, k, (), np.array([one.token]), np.array([one.depth]), one.adapter) for k, one in enumerate(queries)
    ]
    for k, number in enumerate(starts, len(queries)):
        one = slices[number]
        depth = np.array([one.node.end + len(one.tokens)])
        entries.append(_Entry(one.node.chain, k, (), np.array([one.last]), depth, one.adapter))
    groups, merged_paths = _merged(slices)
    entries = sorted([*entries, *groups], key=_place)
    at = 0
    for entry in entries:
        entry.at, at = at, at + len(entry.tokens)
    rows = np.empty(len(queries) + len(starts), np.int64)
    paths: list[Ints] = [tree.EMPTY] * len(slices)
    for entry in entries:
        if entry.row >= 0:
            rows[entry.row] = entry.at
        for number in entry.slices:
            paths[number] = merged_paths[number] + entry.at
    new = np.concatenate([np.arange(e.at, e.at + len(e.tokens)) for e in entries if e.row < 0] or [tree.EMPTY])
    readers, sees = _readers(new, paths, [(rows[k], number) for k, number in enumerate(starts, len(queries))])
    step = Step(
        depth=np.concatenate([entry.depth for entry in entries]),
        spans=_spans(entries),
        slots=slots,
        rows=rows,
        lengths=np.array([*(one.length for one in queries), *(0 for _ in starts)], np.int64),
        new=new,
        readers=readers,
        sees=sees,
        device=device,
    )
    return Layout(step, np.concatenate([entry.tokens for entry in entries]), paths, _ranges(entries))


def _place(entry: _Entry) -> tuple[Any, ...]:
    """Queries of one adapter are neighbours, and among these those under one node."""
    return entry.adapter.digest if entry.adapter else "", tuple(node.number for node in entry.chain)


def _ranges(entries: Sequence[_Entry]) -> Ranges:
    out = []
    for _, run in groupby(entries, key=lambda entry: entry.adapter.digest if entry.adapter else ""):
        members = list(run)
        if adapter := members[0].adapter:
            out.append((members[0].at, members[-1].at + len(members[-1].tokens), adapter))
    return out


def _merged(slices: Sequence[Slice]) -> tuple[list[_Entry], dict[int, Ints]]:
    """Slices after the same node as prefix trees, and of each slice the place of its tokens there."""
    out, places = [], {}
    numbers = sorted((k for k, one in enumerate(slices) if one.tokens), key=lambda k: slices[k].node.number)
    for _, run in groupby(numbers, key=lambda k: slices[k].node.number):
        members = list(run)
        node = slices[members[0]].node
        merged = tree.trie([slices[k].tokens for k in members])
        depth = np.empty(len(merged.tokens), np.int64)
        for k, path in zip(members, merged.paths):
            depth[path], places[k] = node.end + np.arange(len(path)), path
        out.append(_Entry(node.chain, -1, members, merged.tokens, depth, slices[members[0]].adapter))
    return out, places


def _readers(new: Ints, paths: Sequence[Ints], starts: Sequence[tuple[Any, int]]) -> tuple[Ints, Any]:
    """Who attends to the prompts' tokens of this step, and to which: (R,), (R, N)."""
    after = [(row, number) for row, number in starts if len(paths[number])]
    readers = np.concatenate([new, np.array([row for row, _ in after], np.int64)])
    sees = np.zeros((len(readers), len(new)), bool)
    for path in paths:
        place = np.searchsorted(new, path)
        sees[np.ix_(place, place)] |= np.tri(len(path), dtype=bool)
    for k, (_, number) in enumerate(after, len(new)):
        sees[k, np.searchsorted(new, paths[number])] = True
    return readers, sees


def _spans(entries: Sequence[_Entry]) -> list[Span]:
    """Each node with the neighbouring queries under it; entries are in the order of their chains."""
    out: list[Span] = []
    level = 0
    while deeper := [entry for entry in entries if len(entry.chain) > level]:
        for _, run in groupby(deeper, key=lambda entry: entry.chain[level].number):
            members = list(run)
            stop = members[-1].at + len(members[-1].tokens)
            out.append(Span(members[0].chain[level], level, members[0].at, stop))
        level += 1
    return out
