"""A sentence encoder tuned so that texts of one label lie together and those of others apart.

Supervised contrastive learning: https://arxiv.org/abs/2004.11362; on sentence encoders with few rows: SetFit
(https://arxiv.org/abs/2209.11055), with batches of many labels at once as in FastFit (https://arxiv.org/abs/2404.12365).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rung.lm.inference.embed import Embedder
from rung.lm.models.chat import Chat
from rung.lm.models.load import Loaded
from rung.lm.quiet import quiet
from rung.lm.training import train
from rung.lm.trees.tree import Row

PARTS = 2
"""Parts that a batch is computed in, short texts and long ones: padding is what costs."""


@dataclass(frozen=True)
class Batch:
    """Texts of one step with their labels' indices. All are compared with each other, so none can be computed apart."""

    rows: tuple[Row, ...]
    labels: tuple[int, ...]
    places: tuple[int, ...] = ()
    """Of the texts in the memory, if there is one."""


@dataclass(frozen=True)
class Memory:
    """The last vectors of all texts: what a batch is compared with where its own texts show too few of the labels.

    Cross-batch memory: https://arxiv.org/abs/1912.06798. It changes in place.
    """

    vectors: torch.Tensor
    """(texts, width), unit vectors."""
    labels: torch.Tensor
    """(texts,)."""

    @classmethod
    def of(cls, vectors: NDArray[np.float32], labels: Sequence[int]) -> Memory:
        """Of vectors that no training has changed yet."""
        return cls(torch.tensor(vectors), torch.tensor(labels))


def loaded(embedder: Embedder) -> Loaded:
    """The embedder's model, in place, for the training loop."""
    return Loaded(embedder.model, Chat(embedder.model.tokenizer), False, embedder.max_length)


def tokenize(embedder: Embedder, texts: Sequence[str], longest: int | None = None) -> list[Row]:
    """Rows of texts, truncated to the encoder's length, or to `longest` tokens if that is less. No token is a target."""
    limit = min(embedder.model.max_seq_length or longest or 0, longest or 2**31) or None
    rows = embedder.model.tokenizer(list(texts), truncation=limit is not None, max_length=limit).input_ids
    return [Row(tuple(ids), (False,) * len(ids)) for ids in rows]


def batches(rows: Sequence[Row], labels: Sequence[int], *, steps: int, size: int, seed: int) -> list[Batch]:
    """Batches of `size` texts, evenly of all labels, or of as many labels as have room with two texts each."""
    rng = np.random.default_rng(seed)
    by_label = [np.flatnonzero(np.asarray(labels) == k) for k in sorted(set(labels))]
    room = min(len(by_label), max(2, size // 2))
    out = []
    for _ in range(steps):
        picked: list[int] = []
        for k in rng.permutation(len(by_label))[:room]:
            members = by_label[k]
            picked += rng.choice(members, min(len(members), max(2, size // room)), replace=False).tolist()
        out.append(_batch(rows, labels, picked))
    return out


def shuffled(rows: Sequence[Row], labels: Sequence[int], *, steps: int, size: int, seed: int) -> list[Batch]:
    """Batches of `size` texts, or of all there are, as they come: each text once before any comes again. For a memory."""
    rng, order, size = np.random.default_rng(seed), list[int](), min(size, len(rows))
    out = []
    for _ in range(steps):
        if len(order) < size:
            order = rng.permutation(len(rows)).tolist()
        out.append(_batch(rows, labels, [order.pop() for _ in range(size)]))
    return out


def _batch(rows: Sequence[Row], labels: Sequence[int], picked: Sequence[int]) -> Batch:
    return Batch(tuple(rows[i] for i in picked), tuple(labels[i] for i in picked), tuple(picked))


def items(pad: int, temperature: float, memory: Memory | None = None) -> tuple[train.Items, train.Loss]:
    """Step items that are whole batches, and their loss.

    For each text, the mean negative log-probability of the others of its label among all others, of the batch or of the
    memory, by cosine similarity over `temperature`, in nats; texts whose label has no other one there are left out.
    """

    def loss(model: Any, given: Sequence[Batch], trees: bool) -> torch.Tensor:
        total = torch.zeros((), device=model.device)
        for batch in given:
            found, labels = vectors(model, pad, batch.rows), torch.tensor(batch.labels)
            if memory:
                places = torch.tensor(batch.places)
                memory.vectors[places] = found.detach().to(memory.vectors)
                total = total + against(found, labels, memory.vectors, memory.labels, places, temperature)
            else:
                total = total + against(found, labels, found, labels, torch.arange(len(labels)), temperature)
        return total

    return train.Items(rows=lambda batch: batch.rows, weight=len, check=lambda rows, model: None), loss


def against(
    vectors: torch.Tensor,
    labels: torch.Tensor,
    pool: torch.Tensor,
    pool_labels: torch.Tensor,
    places: torch.Tensor,
    temperature: float,
) -> torch.Tensor:
    """The loss of unit vectors (texts, width) with labels (texts,) among those of a pool, a scalar.

    L_out of https://arxiv.org/abs/2004.11362. `places` (texts,): of the texts themselves in the pool.
    """
    device = vectors.device
    labels, pool, pool_labels, places = labels.to(device), pool.to(device), pool_labels.to(device), places.to(device)
    itself = torch.arange(len(pool), device=device)[None] == places[:, None]
    logits = (vectors @ pool.T / temperature).masked_fill(itself, -torch.inf)
    log_probabilities = logits.log_softmax(1).masked_fill(itself, 0.0)
    same = (labels[:, None] == pool_labels[None]) & ~itself
    counts = same.sum(1)
    has = counts > 0
    if not has.any():
        return vectors.sum() * 0.0
    return -((log_probabilities * same).sum(1)[has] / counts[has]).mean()


def vectors(model: Any, pad: int, rows: Sequence[Row]) -> torch.Tensor:
    """Unit vectors of rows, with gradients; (rows, width)."""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i].tokens))
    step = max(1, -(-len(order) // PARTS))
    parts = [order[start : start + step] for start in range(0, len(order), step)]
    found = torch.cat([_padded(model, pad, [rows[i] for i in part]) for part in parts])
    back = torch.empty(len(order), dtype=torch.long)
    back[torch.tensor([i for part in parts for i in part])] = torch.arange(len(order))
    return torch.nn.functional.normalize(found[back.to(found.device)], dim=-1)


def save(embedder: Embedder, folder: Path) -> None:
    """Write the encoder in sentence-transformers' format."""
    with quiet():
        embedder.model.save(str(folder), create_model_card=False)  # written into: a fit's workplace


def _padded(model: Any, pad: int, rows: Sequence[Row]) -> torch.Tensor:
    width = max(len(row.tokens) for row in rows)
    ids = torch.tensor([row.tokens + (pad,) * (width - len(row.tokens)) for row in rows], device=model.device)
    real = torch.tensor([[1] * len(row.tokens) + [0] * (width - len(row.tokens)) for row in rows], device=model.device)
    return model({"input_ids": ids, "attention_mask": real})["sentence_embedding"]
