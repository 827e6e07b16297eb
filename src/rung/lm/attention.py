"""Attention over a prefix tree: exact, and its cost grows with depth, not with the length of the row.

A dense mask over a row of N nodes costs N·N although a node sees only its few ancestors. Here the queries are cut into
blocks; each block gathers the keys that any of its queries may see (the path to it and itself) and runs an ordinary
scaled-dot-product attention. It is registered with transformers as one more attention implementation, and takes the
blocks as a keyword argument of the model's forward, so any model that passes such arguments on can be used.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface

NAME = "rung_tree"
BLOCK = 64


@dataclass(frozen=True, slots=True)
class Blocks:
    """Which keys each block of queries sees; B blocks of Q queries and at most L keys."""

    query: torch.Tensor  # (B, Q) index of the query; the last block repeats its last query as padding
    place: torch.Tensor  # (n,) where in the flattened (B·Q) output each query stands
    key: torch.Tensor  # (B, L) index of the key
    allow: torch.Tensor  # (B, Q, L) bool
    distance: torch.Tensor  # (B, Q, L) positions between query and key; for sliding windows
    made: dict[tuple, torch.Tensor] = field(default_factory=dict)
    """Masks as a layer wants them, made by the first layer and used by all of its kind."""

    def bias(self, fold: int, window: int | None, dtype: torch.dtype) -> torch.Tensor:
        """What is added to the scores, 0 or minus infinity: (B, 1, fold·Q, L), the queries repeated `fold` times."""
        kind = (fold, window, dtype)
        if kind not in self.made:
            allow = self.allow if window is None else self.allow & (self.distance < window)
            bias = torch.zeros(allow.shape, dtype=dtype, device=allow.device).masked_fill_(~allow, float("-inf"))
            self.made[kind] = bias.repeat(1, fold, 1)[:, None]
        return self.made[kind]


def blocks(mask: NDArray[np.bool_], q_depth: NDArray, k_depth: NDArray, device: Any = "cpu", size: int = BLOCK) -> Blocks:
    """Cut a boolean mask (queries × keys) into blocks of `size` neighbouring queries, each with only the keys it needs."""
    n = len(mask)
    starts = range(0, n, size)
    seen = [np.flatnonzero(mask[s : s + size].any(0)) for s in starts]
    width = max(len(keys) for keys in seen)
    query = np.minimum(np.arange(len(seen) * size).reshape(-1, size), n - 1)
    key = np.stack([np.pad(keys, (0, width - len(keys)), mode="edge") for keys in seen])
    real = np.arange(width)[None, :] < np.array([len(keys) for keys in seen])[:, None]
    allow = mask[query[:, :, None], key[:, None, :]] & real[:, None, :]
    distance = q_depth[query][:, :, None] - k_depth[key][:, None, :]
    tensor = [torch.from_numpy(np.ascontiguousarray(a)).to(device) for a in (query, key, allow, distance)]
    return Blocks(tensor[0], torch.arange(n, device=device), tensor[1], tensor[2], tensor[3])


def tree_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    blocks: Blocks | None = None,
    **rest: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of one row of queries (1, H, n, D) over keys (1, G, m, D), G dividing H; returns (1, n, H, D).

    Query heads that share a key head are laid side by side as more queries, so keys are gathered once a group.
    """
    assert blocks is not None, "tree attention was called without its blocks"
    _, heads, n, dim = query.shape
    groups = key.shape[1]
    count, size = blocks.query.shape
    fold = heads // groups
    q = pad(query[0], (0, 0, 0, count * size - n)).view(groups, fold, count, size, dim)
    q = q.permute(2, 0, 1, 3, 4).reshape(count, groups, fold * size, dim)
    k = key[0].index_select(1, blocks.key.reshape(-1)).view(groups, count, -1, dim).transpose(0, 1)
    v = value[0].index_select(1, blocks.key.reshape(-1)).view(groups, count, -1, dim).transpose(0, 1)
    bias = blocks.bias(fold, sliding_window, query.dtype)
    out = scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scaling, dropout_p=dropout)
    out = out.view(count, heads, size, dim).transpose(1, 2).reshape(count * size, heads, dim)
    return out[:n].unsqueeze(0), None


AttentionInterface.register(NAME, tree_attention)
