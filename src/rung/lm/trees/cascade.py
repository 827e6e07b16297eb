"""Attention of rows that continue a shared prefix, whose keys and values are read once for all rows.

When many answers are generated after the same demonstrations, a step is bound by reading keys and values, and most of them
belong to the shared prefix. Scores against the prefix are one matrix product for the whole batch (Hydragen, Juravsky et al.
2024, https://arxiv.org/abs/2402.05099). One softmax runs over prefix and own tokens together, so the result equals plain
attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import AttentionInterface

NAME = "rung_cascade"

States = Sequence[tuple[torch.Tensor, torch.Tensor]]
"""Keys and values of a shared prefix in each layer: (heads, P, width)."""


@dataclass(frozen=True, slots=True)
class Cascade:
    """What the rows of a decoding step attend to: the whole prefix, and their own tokens without padding."""

    prefix: States
    real: torch.Tensor  # (rows, own) bool; left-padded
    biases: dict[tuple, torch.Tensor] = field(default_factory=dict)
    """Attention biases, computed by the first layer of each kind and reused by the others."""

    def bias(self, window: int | None, dtype: torch.dtype) -> torch.Tensor:
        """Added to the attention scores, 0 or minus infinity: (rows, 1, 1, P + own)."""
        kind = (window, dtype)
        if kind not in self.biases:
            shared = torch.arange(self.prefix[0][0].shape[-2], device=self.real.device).expand(len(self.real), -1)
            allow = torch.cat([torch.ones_like(shared, dtype=torch.bool), self.real], 1)
            if window is not None:
                depth = torch.cat([shared, shared.shape[1] + self.real.cumsum(1) - 1], 1)
                allow = allow & (depth[:, -1:] - depth < window)
            bias = torch.zeros(allow.shape, dtype=dtype, device=allow.device).masked_fill_(~allow, float("-inf"))
            self.biases[kind] = bias[:, None, None]
        return self.biases[kind]


def cascade_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    cascade: Cascade | None = None,
    **rest: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of one query per row, (R, H, 1, D), over the prefix and own keys (R, G, own, D); returns (R, 1, H, D)."""
    assert cascade is not None, "cascade attention needs `cascade`"
    rows, heads, _, width = query.shape
    kinds = key.shape[1]
    prefix_keys, prefix_values = cascade.prefix[module.layer_idx]
    scale = width**-0.5 if scaling is None else scaling
    queries = query.view(rows, kinds, heads // kinds, width) * scale
    scores = torch.cat([_shared_product(queries, prefix_keys.transpose(-1, -2)), queries @ key.transpose(-1, -2)], -1)
    scores = scores + cascade.bias(sliding_window, query.dtype)
    weights = scores.softmax(-1, dtype=torch.float32).to(query.dtype)
    shared, own = weights.split([prefix_keys.shape[-2], key.shape[-2]], -1)
    return (_shared_product(shared, prefix_values) + own @ value).reshape(rows, 1, heads, -1), None


def _shared_product(own: torch.Tensor, shared: torch.Tensor) -> torch.Tensor:
    """Product of every row's (R, G, F, n) with a shared (G, n, m), one matrix product per head: (R, G, F, m)."""
    rows, kinds, fold, inner = own.shape
    out = own.transpose(0, 1).reshape(kinds, rows * fold, inner) @ shared
    return out.view(kinds, rows, fold, -1).transpose(0, 1)


AttentionInterface.register(NAME, cascade_attention)
