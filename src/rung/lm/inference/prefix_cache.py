"""The KV cache of a model's prompts: the prefix that all prompts share is computed once and kept for the next call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from rung.lm.out_of_memory import Budget
from rung.lm.trees import tree
from rung.lm.trees.forest import Forest

Ids = tuple[int, ...]
End = tuple[int, torch.Tensor]
"""A prompt's last node in the forest, and the logits there."""


class PrefixCache:
    """One forest that holds the last shared prefix. `budget` bounds the nodes of a pass beyond that prefix."""

    def __init__(self, model: Any, budget: Budget):
        self.model, self.budget = model, budget
        self._cached: tuple[Ids, Forest] | None = None

    def __len__(self) -> int:
        return len(self._cached[0]) if self._cached else 0

    def clear(self) -> None:
        """Drop the cached prefix; needed when the weights have changed."""
        self._cached = None

    def parts(self, ids: Sequence[Ids], reserve: int) -> Iterator[tuple[list[int], Forest, list[End]]]:
        """Prefill prompts part by part after their shared prefix: (indices into `ids`, forest, end of each prompt).

        `reserve`: nodes of the budget to leave free for each prompt's answers.
        """
        if not ids:
            return
        if len(ids) == 1:
            forest, logits = self.one(ids[0])
            try:
                yield [0], forest, [(len(forest) - 1, logits)]
            finally:
                forest.crop(len(ids[0]))
            return
        shared = tree.shared_prefix(ids)
        forest, base = self._prefix(shared), len(shared)
        rows = [tree.Row(tokens[base:] + (0,) * reserve, (False,) * (len(tokens) - base + reserve)) for tokens in ids]
        for part in tree.split_rows(rows, by_tokens(rows), self.budget.tokens):
            merged = tree.trie([ids[i][base:] for i in part])
            parents = np.where(merged.parent >= 0, merged.parent + base, base - 1)
            ends = [int(path[-1]) for path in merged.paths]
            wanted = sorted(set(ends))
            logits = forest.grow(merged.tokens.tolist(), parents.tolist(), wanted)
            place = {node: k for k, node in enumerate(wanted)}
            try:
                yield part, forest, [(node + base, logits[place[node]]) for node in ends]
            finally:
                forest.crop(base)

    def one(self, ids: Ids) -> tuple[Forest, torch.Tensor]:
        """Prefill one prompt on as much of the cached prefix as it begins with; the forest and the last logits.

        The whole prompt stays cached, so that the next prompt reuses what it has in common with this one.
        """
        cached = self._cached[0] if self._cached else ()
        same = min(_common(cached, ids), len(ids) - 1)
        forest = self._prefix(ids[:same])
        self._extend(forest, ids, same + (len(ids) - 1 - same) // self.budget.tokens * self.budget.tokens)
        have = len(forest)
        logits = forest.grow(ids[have:], range(have - 1, len(ids) - 1), [len(ids) - have - 1])
        self._cached = (ids, forest)
        return forest, logits[0]

    def _prefix(self, shared: Ids) -> Forest:
        """The forest with exactly the shared tokens; reuses what the last call's prefix has in common with them."""
        tokens, forest = self._cached or ((), Forest(self.model))
        same = _common(tokens, shared)
        forest.crop(same)
        self._cached = (tokens[:same], forest)
        self._extend(forest, shared, len(shared))
        return forest

    def _extend(self, forest: Forest, ids: Ids, size: int) -> None:
        """Extend the cached prefix to the first `size` of these tokens, in passes within the budget."""
        while (have := len(forest)) < size:
            part = ids[have : min(size, have + self.budget.tokens)]
            forest.grow(part, range(have - 1, have - 1 + len(part)), [])
            self._cached = (ids[: have + len(part)], forest)


def by_tokens(rows: Sequence[tree.Row]) -> list[int]:
    """Indices of rows in the order of their tokens: rows with a common prefix are neighbours."""
    return sorted(range(len(rows)), key=lambda i: rows[i].tokens)


def _common(a: Ids, b: Ids) -> int:
    return tree.common_prefix(np.asarray(a, np.int64), np.asarray(b, np.int64))
