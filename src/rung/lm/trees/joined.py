"""Attention over several spans of keys, each a softmax of its own, joined by their log-sum-exp.

It equals one softmax over all keys. Keys that many queries share are read once for all of them (Hydragen, Juravsky et al. 2024,
https://arxiv.org/abs/2402.05099), and rows of unlike lengths are not padded to the longest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from rung.lm.trees.spans import HIDDEN, Step


def attend(
    step: Step, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, window: int | None
) -> torch.Tensor:
    """Attention of (1, H, n, D) over (1, G, n, D) and what is cached, where G divides H; returns (1, n, H, D).

    Called once for each layer, in order. Query heads that share a key head are stacked as additional queries.
    """
    heads, n, width = query.shape[1:]
    kinds = key.shape[1]
    queries = query[0].view(kinds, heads // kinds, n, width).transpose(1, 2).contiguous()
    total = step.levels + bool(len(step.rows)) + bool(len(step.new))
    parts = queries.new_zeros(total, *queries.shape)
    sums = torch.full(parts.shape[:-1], HIDDEN, device=query.device, dtype=torch.float32)
    layer = _Layer(step, len(step.fresh), queries, key, value, scale, window, parts, sums)
    step.fresh.append((key[0], value[0]))
    layer.nodes()
    if len(step.rows):
        layer.own(step.levels)
    if len(step.new):
        layer.new(total - 1)
    shares = sums.softmax(0).to(parts.dtype)
    return (parts * shares[..., None]).sum(0).transpose(0, 1).reshape(1, n, heads, width)


@dataclass(frozen=True, slots=True)
class _Layer:
    """One layer's attention in the making."""

    step: Step
    index: int
    queries: torch.Tensor  # (G, n, fold, D)
    key: torch.Tensor
    value: torch.Tensor
    scale: float
    window: int | None
    parts: torch.Tensor  # (spans, G, n, fold, D): attention over each span
    sums: torch.Tensor  # (spans, G, n, fold): log of each span's softmax sum

    def nodes(self) -> None:
        """Queries over the nodes of the radix tree on their paths."""
        kinds, _, fold, width = self.queries.shape
        for number, span in enumerate(self.step.spans):
            at = slice(span.start, span.stop)
            keys, values = span.node.layer(self.index)
            asked = self.queries[:, at].reshape(1, kinds, -1, width)
            bias = self.step.span_bias(number, span, fold, self.window, asked.dtype)
            part, log = partial_attention(asked, keys[None], values[None], bias, self.scale)
            self.parts[span.level, :, at] = part.view(kinds, -1, fold, width)
            self.sums[span.level, :, at] = log.view(kinds, -1, fold)

    def own(self, level: int) -> None:
        """Running rows over their slots, after this step's key has been written there."""
        kinds, _, fold, _ = self.queries.shape
        step, count = self.step, len(self.step.rows)
        at, numbers, place = step.index("rows"), step.index("numbers"), step.index("lengths")
        size = int(step.lengths.max()) + 1
        keys, values = step.slots.layer(self.index, count, self.key, self.value)
        keys[numbers, :, place] = self.key[0].index_select(1, at).transpose(0, 1)
        values[numbers, :, place] = self.value[0].index_select(1, at).transpose(0, 1)
        asked = self.queries.index_select(1, at).transpose(0, 1)
        bias = step.own_bias(size, fold, self.window, asked.dtype)
        part, log = partial_attention(asked, keys[:count, :, :size], values[:count, :, :size], bias, self.scale)
        self.parts[level].index_copy_(1, at, part.transpose(0, 1))
        self.sums[level].index_copy_(1, at, log.view(count, kinds, fold).transpose(0, 1))

    def new(self, level: int) -> None:
        """Prompts' tokens, and rows that begin after them, over the tokens before them in this step."""
        kinds, _, fold, width = self.queries.shape
        readers, new = self.step.index("readers"), self.step.index("new")
        asked = self.queries.index_select(1, readers).reshape(1, kinds, -1, width)
        keys, values = self.key.index_select(2, new), self.value.index_select(2, new)
        bias = self.step.new_bias(fold, self.window, asked.dtype)
        part, log = partial_attention(asked, keys, values, bias, self.scale)
        self.parts[level].index_copy_(1, readers, part.view(kinds, -1, fold, width))
        self.sums[level].index_copy_(1, readers, log.view(kinds, -1, fold))


def partial_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bias: torch.Tensor | None, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Softmax attention (B, G, m, D) over some of the keys, and the logarithm of the softmax's sum, (B, G, m) in float32."""
    if query.device.type == "cpu" and hasattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu"):
        flash: Any = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        out, sums = flash(query, key, value, 0.0, False, attn_mask=bias, scale=scale)
        return out, sums.float()
    scores = (query @ key.transpose(-1, -2)).float() * scale
    if bias is not None:
        scores = scores + bias.float()
    sums = scores.logsumexp(-1)
    return (scores - sums[..., None]).exp().to(value.dtype) @ value, sums
