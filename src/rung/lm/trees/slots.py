"""The last tokens of each row of a running batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from rung.lm.trees.radix import Node, States


class Slots:
    """Keys and values of each row's last tokens, in a buffer that grows with the number of rows.

    Rows are numbered without gaps, so a step reads them without gathering.
    """

    def __init__(self, room: int):
        """`room`: tokens of each row."""
        self.room = room
        self.states: States = []  # of each layer: (rows, heads, room, width)

    def layer(self, index: int, rows: int, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """A layer's buffers with room for so many rows; of heads, width and type as `key` and `value`, (1, heads, n, width)."""
        if index == len(self.states):
            self.states.append((self._grown(key[:0], 4, key), self._grown(value[:0], 4, value)))
        keys, values = self.states[index]
        if rows > len(keys):
            size = max(rows, 2 * len(keys))
            self.states[index] = self._grown(keys, size, key), self._grown(values, size, value)
        return self.states[index]

    def move(self, source: int, target: int) -> None:
        """Row `source` takes the place of row `target`."""
        for pair in self.states:
            for x in pair:
                x[target] = x[source]

    def read(self, row: int, size: int) -> States:
        """Keys and values of a row's first tokens, (heads, size, width)."""
        return [(keys[row, :, :size], values[row, :, :size]) for keys, values in self.states]

    def put_before(self, row: int, nodes: Sequence[Node]) -> None:
        """Copy nodes into a row that has one token, which moves behind them."""
        size = sum(node.size for node in nodes)
        for layer, pair in enumerate(self.states):
            for which, x in enumerate(pair):
                x[row, :, size] = x[row, :, 0]
                at = 0
                for node in nodes:
                    x[row, :, at : at + node.size] = node.layer(layer)[which]
                    at += node.size

    def _grown(self, old: torch.Tensor, rows: int, like: torch.Tensor) -> torch.Tensor:
        new = like.new_zeros(rows, like.shape[1], self.room, like.shape[3])
        if len(old):
            new[: len(old)] = old
        return new
