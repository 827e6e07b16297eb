"""How well a model foretells raw text: the cross-entropy of documents it was not trained on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from rung.lm import out_of_memory
from rung.lm.models.load import Loaded
from rung.lm.raw_text import windows
from rung.lm.raw_text.shards import Shard
from rung.lm.trees import tree
from rung.lm.trees.forward import answer_logs
from rung.lm.trees.tree import Row

TOGETHER = 2048
"""Tokens computed at once."""


def measure(loaded: Loaded, shard: Shard, length: int, most: int, whole: bool = True) -> NDArray[np.float64]:
    """Of each document, in order, until `most` tokens: nats, tokens foretold, bytes; (D, 3).

    Documents are cut to windows of `length` tokens as in training. Not `whole`, only the first window of each is read, so
    that the same work covers more documents, and the bytes are its share of the document's. A document's first token is
    foretold only behind a begin token; its end token always is.
    """
    sizes = shard.ends - shard.starts - 1
    tokens = sizes if whole else np.minimum(sizes, length)
    count = int(np.searchsorted(np.cumsum(tokens), min(most, tokens.sum()))) + 1
    cut = windows.windows(Shard(shard.tokens, shard.ends[:count], shard.sizes[:count]), length)
    owner = np.searchsorted(shard.ends, cut[:, 0], side="right")
    if not whole:
        cut, owner = cut[first := np.unique(owner, return_index=True)[1]], owner[first]
    nats = row_nats(loaded, [windows.row(shard.tokens[begin:end]) for begin, end in cut])
    read = shard.sizes[:count] * tokens[:count] / np.maximum(1, sizes[:count])
    return np.stack([np.bincount(owner, nats, minlength=count), tokens[:count], read], axis=1).astype(np.float64)


def read(loaded: Loaded, texts: Sequence[str], before: Sequence[str]) -> list[tuple[float, int]]:
    """Bare texts: of each the log-probability behind what stands `before` it, and its tokens, as the engine's `read` has it."""
    rows, owner = [], []
    for i, (front, text) in enumerate(zip(before, texts, strict=True)):
        known, ids = (tuple(loaded.chat.tokenizer(said).input_ids) for said in (front, front + text))
        first = max(1, len(os.path.commonprefix([known, ids])))  # noqa: RUF071 (of tuples; no paths here)
        for start in range(0, len(ids) - 1, loaded.room - 1):
            window = ids[start : start + loaded.room]
            row = Row(window, tuple(k > 0 and start + k >= first for k in range(len(window))))
            if any(row.targets):
                rows.append(row)
                owner.append(i)
    logs = np.bincount(owner, -row_nats(loaded, rows), minlength=len(texts))
    tokens = np.bincount(owner, [sum(row.targets) for row in rows], minlength=len(texts))
    return list(zip(logs.tolist(), tokens.astype(int).tolist()))


@torch.no_grad()
def row_nats(loaded: Loaded, rows: list[Row]) -> NDArray[np.float64]:
    """Cross-entropy of the targets of each row, summed."""
    loaded.model.eval()
    found = np.zeros(len(rows))
    order = sorted(range(len(rows)), key=lambda i: rows[i].tokens)

    def read(part: list[int]) -> NDArray[np.float64]:
        return -answer_logs(loaded.model, [rows[i] for i in part], loaded.trees).double().cpu().numpy()

    for part, nats in out_of_memory.in_parts(order, out_of_memory.Budget(TOGETHER), partial(tree.cut, rows), read):
        found[part] = nats
    return found


def bits(totals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bits a byte, from sums of the columns of `measure`: comparable between tokenizers."""
    return np.asarray(totals[..., 0] / np.log(2) / totals[..., 2])


def perplexity(totals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Perplexity a token, from sums of the columns of `measure`."""
    return np.asarray(np.exp(totals[..., 0] / totals[..., 1]))
