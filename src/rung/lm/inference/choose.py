"""The likeliest label, exactly, by best-first search over the tree of labels.

A log-probability only falls along a branch, so the score of a branch bounds all labels below it: once the best finished
label is at least as likely as every frontier node, no other can win. Most branches are never expanded. The frontier nodes of
many questions are computed together. If labels carry a bias, a branch is bounded by its score plus the highest bias of the
labels below it, and the search stays exact.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from rung.lm.trees.forest import Forest
from rung.lm.trees.tree import trie


@dataclass(frozen=True, slots=True)
class LabelTree:
    """The labels' tokens, end tokens included, merged. Expanding a node computes the log-probabilities of its children."""

    tokens: tuple[int, ...]
    children: tuple[tuple[int, ...], ...]
    """Children of each node."""
    roots: tuple[int, ...]
    """First tokens of the labels."""
    label: tuple[int, ...]
    """The label that a leaf completes, -1 for inner nodes."""
    bias: tuple[float, ...]
    """Added to the log-probability of a leaf's label; at an inner node the highest bias of the labels below it."""


def label_tree(answers: Sequence[Sequence[int]], bias: Sequence[float] = ()) -> LabelTree:
    """`answers`: each label's tokens with the end token last, so that no label is a prefix of another.

    `bias`: added to each label's log-probability, in the order of `answers`; empty for none.
    """
    merged = trie(answers)
    children: list[list[int]] = [[] for _ in merged.tokens]
    roots: list[int] = []
    for node, parent in enumerate(merged.parent.tolist()):
        (children[parent] if parent >= 0 else roots).append(node)
    label = np.full(len(merged.tokens), -1)
    highest = np.full(len(merged.tokens), -np.inf)
    for i, path in enumerate(merged.paths):
        label[path[-1]] = i
        highest[path] = np.maximum(highest[path], bias[i] if bias else 0.0)
    shape = tuple(map(tuple, children)), tuple(roots)
    return LabelTree(tuple(merged.tokens.tolist()), *shape, tuple(label.tolist()), tuple(highest.tolist()))


@dataclass(slots=True)
class Search:
    """One question's search: its frontier and its finished labels."""

    frontier: list[tuple[float, int]] = field(default_factory=list)  # heap of (-bound, node); bound = logprob + bias
    done: list[tuple[float, int]] = field(default_factory=list)  # heap of (-score, label); score = logprob + bias
    expanded: int = 0

    @property
    def settled(self) -> bool:
        return bool(self.done) and (not self.frontier or self.done[0][0] <= self.frontier[0][0])

    def confidence(self) -> float:
        """The winner's share of all labels' probability, with each frontier node at its upper bound: a lower bound."""
        logs = np.array([-score for score, _ in self.done + self.frontier])
        return float(1.0 / np.exp(logs + self.done[0][0]).sum())


EXPAND_BATCH = 16
"""Nodes expanded in one pass: a pass over the model's weights costs about the same for one as for sixteen."""

Logs = np.ndarray | Mapping[int, float]
"""Log-probabilities by token: of the vocabulary, or of the tokens that the tree has there."""

Expand = Callable[[list[tuple[int, tuple[int, ...]]]], Sequence[Sequence[Logs]]]
"""Computes chains of label nodes: for each (question, chain of nodes), the log-probabilities at each node of the chain. A
chain's first node continues the question or an expanded node."""


def choose(
    tree: LabelTree, first: Sequence[Logs] | np.ndarray, expand: Expand, batch: int = EXPAND_BATCH, exhaustive: bool = False
) -> list[Search]:
    """Search all questions together. `first`: log-probabilities right after each prompt.

    Each round expands the best frontier node of every question not yet settled; if few questions are left, several of each,
    up to `batch` in all. A node with one child is expanded with its descendants down to the next fork or leaf in the same
    round. `exhaustive`: search until every label has its score.
    """
    searches = [Search() for _ in first]
    for search, logs in zip(searches, first):
        _add(search, tree, 0.0, tree.roots, logs)
    while waiting := [q for q, search in enumerate(searches) if (search.frontier if exhaustive else not search.settled)]:
        asks, starts = [], []
        width = max(1, batch // len(waiting))
        for q in waiting:
            for _ in range(min(width, len(searches[q].frontier))):
                score, node = heapq.heappop(searches[q].frontier)
                chain = _chain(tree, node)
                asks.append((q, chain))
                starts.append(-score - tree.bias[node])
        for (q, chain), score, logs in zip(asks, starts, expand(asks)):
            searches[q].expanded += len(chain)
            for node, following, at in zip(chain, [*chain[1:], None], logs):
                if following is None:
                    _add(searches[q], tree, score, tree.children[node], at)
                else:
                    score += float(at[tree.tokens[following]])
    return searches


def on_forest(forest: Forest, ends: list, labelled: LabelTree, exhaustive: bool = False) -> list[Search]:
    """The search for the questions whose prompts end at `ends`; their label nodes grow on the same forest."""
    at: dict[tuple[int, int], int] = {}  # (question, label node) → node of the forest
    parent = {child: node for node, children in enumerate(labelled.children) for child in children}

    def expand(asks: list[tuple[int, tuple[int, ...]]]) -> list[list[np.ndarray]]:
        tokens: list[int] = []
        parents: list[int] = []
        for question, chain in asks:
            for node in chain:
                before = parent.get(node)
                parents.append(ends[question][0] if before is None else at[question, before])
                at[question, node] = len(forest) + len(tokens)
                tokens.append(labelled.tokens[node])
        logs = forest.grow(tokens, parents, range(len(tokens))).log_softmax(-1).cpu().numpy()
        rows = iter(logs)
        return [[next(rows) for _ in chain] for _, chain in asks]

    first = torch.stack([logits for _, logits in ends]).log_softmax(-1).cpu().numpy()
    return choose(labelled, first, expand, EXPAND_BATCH * (len(labelled.tokens) if exhaustive else 1), exhaustive)


def paths(tree: LabelTree) -> list[tuple[int, ...]]:
    """Of each node, the tokens from the first to its own."""
    found: list[tuple[int, ...]] = [()] * len(tree.tokens)
    waiting: list[tuple[int, tuple[int, ...]]] = [(root, ()) for root in tree.roots]
    while waiting:
        node, above = waiting.pop()
        found[node] = (*above, tree.tokens[node])
        waiting += [(child, found[node]) for child in tree.children[node]]
    return found


def _chain(tree: LabelTree, node: int) -> tuple[int, ...]:
    """The node and its single descendants, up to a fork or to the last node before a leaf."""
    chain = [node]
    while len(tree.children[chain[-1]]) == 1 and tree.children[tree.children[chain[-1]][0]]:
        chain.append(tree.children[chain[-1]][0])
    return tuple(chain)


def _add(search: Search, tree: LabelTree, score: float, nodes: Sequence[int], logs: Logs) -> None:
    for node in nodes:
        total = score + float(logs[tree.tokens[node]])
        if math.isnan(total):
            raise FloatingPointError("the model returned a log-probability that is NaN")
        bound = total + tree.bias[node]
        if tree.label[node] >= 0:
            heapq.heappush(search.done, (-bound, tree.label[node]))
        else:
            heapq.heappush(search.frontier, (-bound, node))
