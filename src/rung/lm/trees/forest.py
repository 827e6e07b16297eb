"""A growing prefix tree with its KV cache: every node is computed once and can be continued at any time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.nn.functional import pad
from transformers.cache_utils import Cache, DynamicLayer

from rung.lm.trees import attention, cascade, virtual

STEP_BLOCK = 8
"""Queries per block when few nodes are added: neighbours are on different branches and share little but the prefix."""


class GrowingLayer(DynamicLayer):  # keys and values: (rows, heads, capacity, width)
    """Keys and values of one layer in a buffer that doubles, so that adding a node copies no others."""

    size = 0
    keys: torch.Tensor
    values: torch.Tensor
    is_sliding = False  # the attention's own mask applies a sliding window, by depth in the tree

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any):
        stop = self.size + key_states.shape[-2]
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = (self._allocate(state, stop) for state in (key_states, value_states))
        elif stop > self.keys.shape[-2]:
            self.keys, self.values = (self._grown(old, stop) for old in (self.keys, self.values))
        self.keys[..., self.size : stop, :] = key_states
        self.values[..., self.size : stop, :] = value_states
        self.size = stop
        return self.keys[..., :stop, :], self.values[..., :stop, :]

    def get_seq_length(self) -> int:
        return self.size

    def crop(self, tokens_to_remove: int) -> None:
        """Drop the last nodes; `tokens_to_remove` is negative, as in transformers."""
        self.size += tokens_to_remove

    def select(self, rows: torch.Tensor) -> None:
        """Keep these rows only. What is free in the buffer is not copied: memory is taken once it is written."""
        self.keys, self.values = (self._selected(old, rows) for old in (self.keys, self.values))

    def release(self) -> None:
        """Give the buffer back; the layer is not used again."""
        self.keys, self.values = self.keys.new_empty(0), self.values.new_empty(0)

    def _selected(self, old: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        new = old.new_empty(len(rows), *old.shape[1:])
        new[..., : self.size, :] = old[..., : self.size, :][rows]
        return new

    @staticmethod
    def _allocate(like: torch.Tensor, length: int) -> torch.Tensor:
        return like.new_empty(*like.shape[:-2], max(64, 2 * length), like.shape[-1])

    def _grown(self, old: torch.Tensor, length: int) -> torch.Tensor:
        new = self._allocate(old, length)
        new[..., : self.size, :] = old[..., : self.size, :]
        return new


class Forest:
    """Nodes of a prefix tree in the order they were added; node i may continue any node before it.

    A model's virtual tokens are computed in the constructor. They come before node 0 and have no node number; roots
    continue the last of them.
    """

    def __init__(self, model: Any):
        self.model = virtual.base(model)
        self.device = next(model.parameters()).device
        layers = getattr(model.config, "get_text_config", lambda: model.config)().num_hidden_layers
        self.layers = [GrowingLayer() for _ in range(layers)]
        self.cache = Cache(layers=[*self.layers])
        self.virtual_tokens = virtual.size(model)
        with torch.no_grad():
            for layer, state in zip(self.layers, virtual.keys_values(model)):
                layer.update(*state)
        self.depth = np.arange(self.virtual_tokens)
        self.visible = np.tri(
            self.virtual_tokens, dtype=bool
        )  # (capacity, capacity); row i: the positions that position i attends to

    def __len__(self) -> int:
        return len(self.depth) - self.virtual_tokens

    @torch.no_grad()
    def grow(self, tokens: Sequence[int], parents: Sequence[int], want: Sequence[int]) -> torch.Tensor:
        """Add nodes and return the logits (len(want), vocabulary) at `want`, positions among the new nodes.

        `parents` are node numbers, -1 for a root; a new node may continue one added in the same call before it.
        """
        old, new = len(self.depth), len(tokens)
        self._reserve(old + new)
        depth = np.concatenate([self.depth, np.zeros(new, np.int64)])
        for i, parent in enumerate((node + self.virtual_tokens for node in parents), start=old):
            if parent >= 0:
                self.visible[i, :i] = self.visible[parent, :i]
                depth[i] = depth[parent] + 1
            else:
                self.visible[i, :i] = False
            self.visible[i, i] = True
        mask = self.visible[old : old + new, : old + new]
        size = attention.BLOCK if new > 512 else STEP_BLOCK
        try:
            out = self.model(
                input_ids=torch.tensor([list(tokens)], device=self.device),
                position_ids=torch.from_numpy(depth[old:])[None].to(self.device),
                past_key_values=self.cache,
                blocks=attention.blocks(mask, depth[old:], depth, self.device, size),
                # the output head fails on an empty index: keep one position if none is wanted
                logits_to_keep=torch.tensor(list(want) or [0], device=self.device),
                use_cache=True,
            )
        except BaseException:
            for layer in self.layers:  # the first layers may already hold the new nodes
                layer.size = min(layer.size, old)
            raise
        self.depth = depth
        return out.logits[0, : len(want)].float()

    def crop(self, size: int) -> None:
        """Drop all but the first `size` nodes."""
        for layer in self.layers:
            layer.crop(size - len(self))
        self.depth = self.depth[: size + self.virtual_tokens]

    def fork(self, ends: Sequence[int], prefix: int) -> Forks:
        """The paths to these nodes as a batch to decode. All of them begin with the first `prefix` nodes."""
        shared = self.virtual_tokens + prefix
        paths = [np.flatnonzero(self.visible[end + self.virtual_tokens, : len(self.depth)])[shared:] for end in ends]
        width = max(len(path) for path in paths)
        index = torch.tensor(np.stack([np.pad(path, (width - len(path), 0)) for path in paths]), device=self.device)
        real = torch.arange(width)[None] >= width - torch.tensor([len(path) for path in paths])[:, None]
        layers: list[Any] = []
        for layer in self.layers:
            forked = GrowingLayer()
            forked.update(*(state[0][:, index].transpose(0, 1) for state in (layer.keys, layer.values)))
            layers.append(forked)
        states = tuple((layer.keys[0, :, :shared], layer.values[0, :, :shared]) for layer in self.layers)
        return Forks(states, Cache(layers=layers), real.to(self.device))

    def _reserve(self, size: int) -> None:
        if size > len(self.visible):
            grown = np.zeros((max(256, 2 * size), max(256, 2 * size)), bool)
            used = len(self.depth)
            grown[:used, :used] = self.visible[:used, :used]
            self.visible = grown


@dataclass(frozen=True, slots=True)
class Forks:
    """Paths through a forest: their shared prefix, stored once, and the rest of each as a row of a left-padded batch."""

    prefix: cascade.States
    cache: Cache
    """Keys and values of each path after the prefix, (rows, heads, longest, …) in each layer."""
    real: torch.Tensor
    """(rows, longest) bool: which positions are not padding."""

    def select(self, rows: torch.Tensor) -> Forks:
        """Only these rows; drops the others' keys and values."""
        layers: list[Any] = self.cache.layers
        for layer in layers:
            layer.select(rows)
        return replace(self, real=self.real[rows])

    def extended(self) -> Forks:
        """With one more token in each row's mask."""
        return replace(self, real=torch.cat([self.real, self.real.new_ones(len(self.real), 1)], 1))


def concatenate(parts: Sequence[Forks]) -> Forks:
    """Forks of one forest with the same prefix as one batch, padded to the longest.

    Several parts are used up, layer by layer: their keys and values beside those of the batch would take twice the memory.
    """
    if len(parts) == 1:
        return parts[0]
    width = max(part.real.shape[1] for part in parts)
    layers: list[Any] = []
    for olds in zip(*(part.cache.layers for part in parts)):
        layer, states = GrowingLayer(), [(old.keys, old.values, old.size) for old in olds]
        layer.update(
            torch.cat([pad(keys[..., :size, :], (0, 0, width - size, 0)) for keys, _, size in states]),
            torch.cat([pad(values[..., :size, :], (0, 0, width - size, 0)) for _, values, size in states]),
        )
        layers.append(layer)
        for old in olds:
            old.release()
    real = torch.cat([pad(part.real, (width - part.real.shape[1], 0)) for part in parts])
    return Forks(parts[0].prefix, Cache(layers=layers), real)
