"""Attention of rows that continue one front: its keys and values are read once for all rows, not once for each.

Writing many answers behind the same demonstrations, a step is bound by reading keys and values; those of the front are most
of them. Scores against the front are one matrix product for the whole batch (Juravsky et al. 2024, Hydragen,
https://arxiv.org/abs/2402.05099), then one softmax over front and own together, so the result is that of plain attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import AttentionInterface

NAME = "rung_cascade"

States = Sequence[tuple[torch.Tensor, torch.Tensor]]
"""Of each layer the keys and values of the front: (heads, P, width)."""


@dataclass(frozen=True, slots=True)
class Cascade:
    """What rows of a step may see: the whole front, and what is real of their own."""

    front: States
    real: torch.Tensor  # (rows, own) bool; left-padded
    made: dict[tuple, torch.Tensor] = field(default_factory=dict)
    """Masks as a layer wants them, made by the first layer and used by all of its kind."""

    def bias(self, window: int | None, dtype: torch.dtype) -> torch.Tensor:
        """What is added to the scores, 0 or minus infinity: (rows, 1, 1, P + own)."""
        kind = (window, dtype)
        if kind not in self.made:
            shared = torch.arange(self.front[0][0].shape[-2], device=self.real.device).expand(len(self.real), -1)
            allow = torch.cat([torch.ones_like(shared, dtype=torch.bool), self.real], 1)
            if window is not None:
                depth = torch.cat([shared, shared.shape[1] + self.real.cumsum(1) - 1], 1)
                allow = allow & (depth[:, -1:] - depth < window)
            bias = torch.zeros(allow.shape, dtype=dtype, device=allow.device).masked_fill_(~allow, float("-inf"))
            self.made[kind] = bias[:, None, None]
        return self.made[kind]


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
    """Attention of one query a row, (R, H, 1, D), over the front and over own keys (R, G, own, D); returns (R, 1, H, D)."""
    assert cascade is not None, "cascade attention was called without its front"
    rows, heads, _, width = query.shape
    kinds = key.shape[1]
    front_keys, front_values = cascade.front[module.layer_idx]
    scale = width**-0.5 if scaling is None else scaling
    queries = query.view(rows, kinds, heads // kinds, width) * scale
    scores = torch.cat([_of_all(queries, front_keys.transpose(-1, -2)), queries @ key.transpose(-1, -2)], -1)
    scores = scores + cascade.bias(sliding_window, query.dtype)
    shares = scores.softmax(-1, dtype=torch.float32).to(query.dtype)
    shared, own = shares.split([front_keys.shape[-2], key.shape[-2]], -1)
    return (_of_all(shared, front_values) + own @ value).reshape(rows, 1, heads, -1), None


def _of_all(some: torch.Tensor, front: torch.Tensor) -> torch.Tensor:
    """The product of all rows' (R, G, F, n) with what they share (G, n, m), one product a head: (R, G, F, m)."""
    rows, kinds, fold, inner = some.shape
    found = some.transpose(0, 1).reshape(kinds, rows * fold, inner) @ front
    return found.view(kinds, rows, fold, -1).transpose(0, 1)


AttentionInterface.register(NAME, cascade_attention)
