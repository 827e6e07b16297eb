"""How well a model predicts raw text: the cross-entropy of held-out documents."""

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
from rung.lm.trees.forward import answer_logprobs
from rung.lm.trees.tree import Row

BATCH_TOKENS = 2048
"""Tokens per pass."""


def measure(loaded: Loaded, shard: Shard, length: int, limit: int, whole: bool = True) -> NDArray[np.float64]:
    """Nats, predicted tokens and bytes of each document in order, until `limit` tokens; (D, 3).

    Documents are split into windows of `length` tokens, as in training. `whole=False` scores only the first window of each,
    so that the same compute covers more documents; the bytes are the window's share of the document's. A document's first
    token is predicted only after a begin token; its end token always is.
    """
    sizes = shard.ends - shard.starts - 1
    tokens = sizes if whole else np.minimum(sizes, length)
    count = int(np.searchsorted(np.cumsum(tokens), min(limit, tokens.sum()))) + 1
    cut = windows.windows(Shard(shard.tokens, shard.ends[:count], shard.sizes[:count]), length)
    owner = np.searchsorted(shard.ends, cut[:, 0], side="right")
    if not whole:
        cut, owner = cut[first := np.unique(owner, return_index=True)[1]], owner[first]
    nats = row_nats(loaded, [windows.row(shard.tokens[begin:end]) for begin, end in cut])
    bytes_scored = shard.sizes[:count] * tokens[:count] / np.maximum(1, sizes[:count])
    return np.stack([np.bincount(owner, nats, minlength=count), tokens[:count], bytes_scored], axis=1).astype(np.float64)


def text_logprobs(loaded: Loaded, texts: Sequence[str], before: Sequence[str]) -> list[tuple[float, int]]:
    """Log-probability and number of tokens of each plain text, after the text `before` it; see `CausalEngine.read`."""
    rows, owner = [], []
    for i, (context, text) in enumerate(zip(before, texts, strict=True)):
        known, ids = (tuple(loaded.chat.tokenizer(one).input_ids) for one in (context, context + text))
        first = max(1, len(os.path.commonprefix([known, ids])))  # noqa: RUF071 (of tuples; no paths here)
        for start in range(0, len(ids) - 1, loaded.max_length - 1):
            window = ids[start : start + loaded.max_length]
            row = Row(window, tuple(k > 0 and start + k >= first for k in range(len(window))))
            if any(row.targets):
                rows.append(row)
                owner.append(i)
    logs = np.bincount(owner, -row_nats(loaded, rows), minlength=len(texts))
    tokens = np.bincount(owner, [sum(row.targets) for row in rows], minlength=len(texts))
    return list(zip(logs.tolist(), tokens.astype(int).tolist()))


@torch.no_grad()
def row_nats(loaded: Loaded, rows: list[Row]) -> NDArray[np.float64]:
    """Summed cross-entropy of each row's targets."""
    loaded.model.eval()
    out = np.zeros(len(rows))
    order = sorted(range(len(rows)), key=lambda i: rows[i].tokens)

    def score(part: list[int]) -> NDArray[np.float64]:
        return -answer_logprobs(loaded.model, [rows[i] for i in part], loaded.trees).double().cpu().numpy()

    budget = out_of_memory.Budget(BATCH_TOKENS)
    for part, nats in out_of_memory.run_in_parts(order, budget, partial(tree.split_rows, rows), score):
        out[part] = nats
    return out


def bits(totals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bits per byte, from sums of the columns of `measure`; comparable between tokenizers."""
    return np.asarray(totals[..., 0] / np.log(2) / totals[..., 2])


def perplexity(totals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Perplexity per token, from sums of the columns of `measure`."""
    return np.asarray(np.exp(totals[..., 0] / totals[..., 1]))
