"""Exact attention over a prefix tree. Its cost grows with the depth of the tree, not with its number of nodes.

A dense mask over N nodes costs N·N, although a node attends only to its few ancestors. Here the queries are split into
blocks. Each block gathers the keys that any of its queries may attend to (their ancestors and themselves) and runs ordinary
scaled-dot-product attention. It is registered with transformers as an attention implementation. The blocks are a keyword
argument of the model's forward, so any model that passes such arguments on to its attention works.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from rung.lm.trees import joined

NAME = "rung_tree"
BLOCK = 64
MIN_WIDTH_RATIO = 0.75
"""Least number of keys in a group's narrowest block, as a share of its widest; the rest is padding."""


@dataclass(frozen=True, slots=True)
class Group:
    """Blocks with about the same number of keys: B blocks of Q queries and at most L keys."""

    allow: torch.Tensor  # (B, Q, L) bool
    query_depth: torch.Tensor  # (B, Q) positions; for sliding windows
    key_depth: torch.Tensor  # (B, L)
    biases: dict[tuple, torch.Tensor] = field(default_factory=dict)
    """Attention biases, computed by the first layer of each kind and reused by the others."""

    def bias(self, fold: int, window: int | None, dtype: torch.dtype) -> torch.Tensor:
        """Added to the attention scores, 0 or minus infinity: (B, 1, fold·Q, L), the queries repeated `fold` times."""
        kind = (fold, window, dtype)
        if kind not in self.biases:
            allow = self.allow
            if window is not None:
                allow = allow & (self.query_depth[:, :, None] - self.key_depth[:, None, :] < window)
            bias = torch.zeros(allow.shape, dtype=dtype, device=allow.device).masked_fill_(~allow, float("-inf"))
            self.biases[kind] = bias.repeat(1, fold, 1)[:, None]
        return self.biases[kind]


@dataclass(frozen=True, slots=True)
class Blocks:
    """The keys of each block of queries. Blocks are grouped by width, so that short paths are not padded to the longest."""

    groups: tuple[Group, ...]
    query: torch.Tensor  # (all groups' B·Q,) index of the query; the last block repeats its last query as padding
    key: torch.Tensor  # (all groups' B·L,) index of the key
    place: torch.Tensor  # (n,) position of each query in `query`


def blocks(mask: NDArray[np.bool_], q_depth: NDArray, k_depth: NDArray, device: Any = "cpu", size: int = BLOCK) -> Blocks:
    """Split a boolean mask (queries × keys) into blocks of `size` neighbouring queries, each with only the keys it needs."""
    n = len(mask)
    starts = range(0, n, size)
    seen = [np.flatnonzero(mask[start : start + size].any(0)) for start in starts]
    query = np.minimum(np.arange(len(starts) * size).reshape(-1, size), n - 1)
    groups, queries, keys = [], [], []
    for members in _group_by_width([len(block) for block in seen]):
        q, width = query[members], max(len(seen[i]) for i in members)
        key = np.stack([np.pad(seen[i], (0, width - len(seen[i])), mode="edge") for i in members])
        real = np.arange(width)[None, :] < np.array([len(seen[i]) for i in members])[:, None]
        sees = mask[q[:, :, None], key[:, None, :]] & real[:, None, :]
        allow, q_at, k_at = (torch.from_numpy(a).to(device) for a in (sees, q_depth[q], k_depth[key]))
        groups.append(Group(allow, q_at, k_at))
        queries.append(q.ravel())
        keys.append(key.ravel())
    order = np.concatenate(queries)
    place = np.empty(n, np.int64)
    place[order] = np.arange(len(order))
    return Blocks(tuple(groups), *(torch.from_numpy(a).to(device) for a in (order, np.concatenate(keys), place)))


def _group_by_width(widths: list[int]) -> list[list[int]]:
    """Group blocks by their number of keys; no block has fewer than MIN_WIDTH_RATIO of its group's widest."""
    groups: list[list[int]] = []
    for i in sorted(range(len(widths)), key=lambda i: -widths[i]):
        if groups and widths[i] >= MIN_WIDTH_RATIO * widths[groups[-1][0]]:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


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
    step: Any = None,
    **rest: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of one row of queries (1, H, n, D) over keys (1, G, m, D), where G divides H; returns (1, n, H, D).

    Query heads that share a key head are stacked as additional queries, so keys are gathered once per group. It is computed in
    the type of the queries and returned in that of the values, which is bfloat16 in training between bfloat16 layers. `step`: a
    `rung.lm.trees.spans.Step` of a running batch, which says itself what its queries attend to.
    """
    if step is not None:
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        return joined.attend(step, query, key, value, scale, sliding_window), None
    assert blocks is not None, "tree attention needs `blocks`"
    # squeeze and split instead of indexing: the gradient of an index or a slice is a full tensor of zeros with a part filled in
    heads, kinds = query.shape[1], key.shape[1]
    fold = heads // kinds
    shapes = [group.allow.shape for group in blocks.groups]
    queries = query.squeeze(0).index_select(1, blocks.query).split([count * size for count, size, _ in shapes], 1)
    widths = [count * width for count, _, width in shapes]
    keys, values = (x.squeeze(0).to(query.dtype).index_select(1, blocks.key).split(widths, 1) for x in (key, value))
    outputs = []
    for group, q, k, v in zip(blocks.groups, queries, keys, values, strict=True):
        count, size, width = group.allow.shape
        q = q.view(kinds, fold, count, size, -1).permute(2, 0, 1, 3, 4).reshape(count, kinds, fold * size, -1)
        k, v = (x.view(kinds, count, width, -1).transpose(0, 1) for x in (k, v))
        bias = group.bias(fold, sliding_window, query.dtype)
        out = scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scaling, dropout_p=dropout)
        outputs.append(out.view(count, heads, size, -1).transpose(1, 2).reshape(count * size, heads, -1))
    return torch.cat(outputs).index_select(0, blocks.place).unsqueeze(0).to(value.dtype), None


AttentionInterface.register(NAME, tree_attention)
