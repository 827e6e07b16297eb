"""The order of rows in an epoch: random, with rows that share a long prefix in one step, where it is computed once."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice, pairwise

import numpy as np

from rung.lm.trees.tree import Row, common_prefix

SHARED = 0.5
"""Least share of the tokens that two neighbours in a group have in common, of the shorter one's, without those of all rows."""


def groups(rows: Sequence[Row]) -> list[list[int]]:
    """Rows by long shared prefixes, as indices; groups by their first row. A row that is like no other is a group of its own."""
    tokens = [np.asarray(row.tokens, np.int64) for row in rows]
    order = sorted(range(len(rows)), key=lambda i: rows[i].tokens)
    front = common_prefix(tokens[order[0]], tokens[order[-1]]) if order else 0
    found = [order[:1]] if order else []
    for before, here in pairwise(order):
        own = min(len(tokens[before]), len(tokens[here])) - front
        if common_prefix(tokens[before], tokens[here]) - front > SHARED * own:
            found[-1].append(here)
        else:
            found.append([here])
    return sorted((sorted(group) for group in found), key=lambda group: group[:1])


def most_alike(batch: int) -> int:
    """Most rows of a group that follow each other where steps have `batch` rows: three quarters, so that steps stay mixed."""
    return max(1, 3 * batch // 4)


def shuffled(found: Sequence[Sequence[int]], batch: int, seed: int) -> list[int]:
    """All rows in random order, for steps of `batch`. Rows of a group follow each other, in runs of at most `most_alike`."""
    rng, most = np.random.default_rng(seed), most_alike(batch)
    runs: list[list[int]] = []
    for group in found:
        mixed = [group[i] for i in rng.permutation(len(group))] if len(group) > 1 else list(group)
        runs += [mixed[start : start + most] for start in range(0, len(mixed), most)]
    return _whole([runs[run] for run in rng.permutation(len(runs))], batch)


def _whole(runs: Sequence[Sequence[int]], batch: int) -> list[int]:
    """The rows of the runs; a run is seldom in two steps: of the next `batch` runs the first that fits is taken."""
    queue, out = deque(runs), list[int]()
    while queue:
        room = batch - len(out) % batch
        at = next((i for i, run in enumerate(islice(queue, batch)) if len(run) <= room), 0)
        run = queue[at]
        del queue[at]
        out += run[:room]
        if run[room:]:
            queue.appendleft(run[room:])
    return out
