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


def loaded(embedder: Embedder) -> Loaded:
    """The embedder's model, in place, for the training loop."""
    return Loaded(embedder.model, Chat(embedder.model.tokenizer), False, embedder.max_length)


def tokenize(embedder: Embedder, texts: Sequence[str]) -> list[Row]:
    """Rows of texts, truncated to the encoder's length. No token is a target."""
    limit = embedder.model.max_seq_length
    rows = embedder.model.tokenizer(list(texts), truncation=limit is not None, max_length=limit).input_ids
    return [Row(tuple(ids), (False,) * len(ids)) for ids in rows]


def batches(
    rows: Sequence[Row], labels: Sequence[int], means: NDArray[np.float32], *, steps: int, size: int, seed: int
) -> list[Batch]:
    """Batches of `size` texts: as many labels as have room, each with at least two texts where it has them.

    Where there are more labels than that, every other batch is of one label and those that lie nearest to it before
    training, by the `means` of their vectors (labels, width): they are what the encoder confuses.
    """
    rng = np.random.default_rng(seed)
    by_label = [np.flatnonzero(np.asarray(labels) == k) for k in range(len(means))]
    known = np.asarray([k for k, members in enumerate(by_label) if len(members)])
    room = min(len(known), max(2, size // 2))
    near = means @ means.T
    out = []
    for step in range(steps):
        if room < len(known) and step % 2:
            centre = rng.choice(known)
            chosen = known[np.argsort(-near[centre, known], kind="stable")[:room]]
        else:
            chosen = rng.permutation(known)[:room]
        picked: list[int] = []
        for k in chosen:
            members = by_label[k]
            picked += rng.choice(members, min(len(members), max(2, size // room)), replace=False).tolist()
        out.append(Batch(tuple(rows[i] for i in picked), tuple(labels[i] for i in picked)))
    return out


def items(pad: int, temperature: float) -> tuple[train.Items, train.Loss]:
    """Step items that are whole batches, and their loss.

    For each text, the mean negative log-probability of the others of its label among all others, by cosine similarity over
    `temperature`, in nats; texts whose label has no other one in the batch are left out.
    """

    def loss(model: Any, given: Sequence[Batch], trees: bool) -> torch.Tensor:
        total = torch.zeros((), device=model.device)
        for batch in given:
            total = total + supervised_contrastive(vectors(model, pad, batch.rows), torch.tensor(batch.labels), temperature)
        return total

    return train.Items(rows=lambda batch: batch.rows, weight=len, check=lambda rows, model: None), loss


def supervised_contrastive(vectors: torch.Tensor, labels: torch.Tensor, temperature: float) -> torch.Tensor:
    """The loss of unit vectors (texts, width) with labels (texts,): L_out of https://arxiv.org/abs/2004.11362, a scalar."""
    labels = labels.to(vectors.device)
    itself = torch.eye(len(labels), dtype=torch.bool, device=vectors.device)
    logits = (vectors @ vectors.T / temperature).masked_fill(itself, -torch.inf)
    log_probabilities = logits.log_softmax(1).masked_fill(itself, 0.0)
    same = (labels[:, None] == labels[None]) & ~itself
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
