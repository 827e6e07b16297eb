"""The query encoder, tuned so that a question lies near the passages that answer it. Vectors of passages stay.

RAG trains the encoder of questions against a fixed index (https://arxiv.org/abs/2005.11401, section 2.4). The loss is that of
DPR (https://arxiv.org/abs/2004.04906), with other passages of the batch and hard negatives, for one or more right passages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rung.lm.training import contrastive, train
from rung.lm.trees.tree import Row


@dataclass(frozen=True)
class Pairing:
    """A question to train on, with passages as places in the array of their vectors."""

    row: Row
    gold: tuple[int, ...]
    """Passages that answer it."""
    hard: tuple[int, ...] = ()
    """Passages that a search finds for it and that do not answer it."""
    doubtful: frozenset[int] = frozenset()
    """Passages that may answer it although nobody said so: neither right nor wrong."""


@dataclass(frozen=True)
class Batch:
    """Questions of one step. Each is compared with the passages of all, so none can be computed apart."""

    pairings: tuple[Pairing, ...]


def batches(pairings: Sequence[Pairing], *, steps: int, size: int, seed: int) -> list[Batch]:
    """Batches of `size` questions, or of all there are; none occurs twice in one."""
    rng, out = np.random.default_rng(seed), []
    order: list[int] = []
    size = min(size, len(pairings))
    for _ in range(steps):
        if len(order) < size:
            order = rng.permutation(len(pairings)).tolist()
        out.append(Batch(tuple(pairings[order.pop()] for _ in range(size))))
    return out


def items(pad: int, passages: NDArray[np.float32], temperature: float) -> tuple[train.Items, train.Loss]:
    """Step items that are whole batches, and their loss. `passages`: unit vectors (passages, width)."""

    def loss(model: Any, given: Sequence[Batch], trees: bool) -> torch.Tensor:
        total = torch.zeros((), device=model.device)
        for batch in given:
            asked = contrastive.vectors(model, pad, [one.row for one in batch.pairings])
            total = total + against_passages(asked, batch.pairings, passages, temperature)
        return total

    return train.Items(rows=_rows, weight=len, check=lambda rows, model: None), loss


def against_passages(
    asked: torch.Tensor, pairings: Sequence[Pairing], passages: NDArray[np.float32], temperature: float
) -> torch.Tensor:
    """Mean negative log-probability in nats of a question's right passages among all of the batch, by cosine over `temperature`.

    asked: (questions, width). Doubtful passages are left out of a question's sum.
    """
    pool = sorted({place for one in pairings for place in (*one.gold, *one.hard)})
    at = {place: column for column, place in enumerate(pool)}
    right = torch.zeros(len(pairings), len(pool), dtype=torch.bool)
    left_out = torch.zeros_like(right)
    for line, one in enumerate(pairings):
        right[line, [at[place] for place in one.gold]] = True
        left_out[line, [at[place] for place in one.doubtful if place in at]] = True
    right, left_out = right.to(asked.device), (left_out & ~right).to(asked.device)
    scores = asked @ torch.as_tensor(passages[pool], device=asked.device).T / temperature
    among = scores.masked_fill(left_out, -torch.inf).logsumexp(1)
    return (among - scores.masked_fill(~right, -torch.inf).logsumexp(1)).mean()


def log_likelihood(
    asked: NDArray[np.float32], gold: Sequence[Sequence[int]], passages: NDArray[np.float32], temperature: float
) -> float:
    """Mean log-probability in nats of the right passages among all; asked: (questions, width)."""
    scores = asked @ passages.T / temperature
    among = np.logaddexp.reduce(scores, axis=1)
    return float(np.mean([np.logaddexp.reduce(scores[i, list(right)]) - among[i] for i, right in enumerate(gold)]))


def _rows(batch: Batch) -> list[Row]:
    return [one.row for one in batch.pairings]
