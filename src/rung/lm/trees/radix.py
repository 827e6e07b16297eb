"""A radix tree of keys and values: what prompts have in common is computed once and found again by its tokens.

Each node is a run of tokens with their keys and values. A path from a root is a prompt's beginning. The roots have names, and
paths under different names never meet: the caller puts into the name all that the same tokens may differ by, such as an adapter
or an asker. The idea is SGLang's RadixAttention (Zheng et al. 2024, https://arxiv.org/abs/2312.07104).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import numpy as np
import torch

from rung.lm.trees.tree import Ints, common_prefix

States = list[tuple[torch.Tensor, torch.Tensor]]
"""Keys and values of each layer: (heads, tokens, width)."""

_numbers = count()


class Node:
    """A run of tokens after its parent's last one."""

    __slots__ = ("capacity", "children", "number", "parent", "pins", "start", "states", "tokens", "used", "users")

    def __init__(self, parent: Node | None, tokens: Ints, start: int, states: States):
        self.parent, self.tokens, self.start, self.states = parent, tokens, start, states
        self.capacity = states[0][0].shape[-2] if states else 0
        self.children: dict[int, Node] = {}
        self.number = next(_numbers)
        self.pins = 0
        """Running rows that continue its last token: it must not grow. A split leaves the last token where it is."""
        self.users = 0
        """Others that need it to stay, who look their tokens up again before they go on."""
        self.used = 0

    @property
    def size(self) -> int:
        return len(self.tokens)

    @property
    def end(self) -> int:
        """Depth of the token after it."""
        return self.start + self.size

    @property
    def chain(self) -> list[Node]:
        """The nodes with tokens from the root to this one."""
        out: list[Node] = []
        node: Node | None = self
        while node is not None:
            if node.states:
                out.append(node)
            node = node.parent
        return out[::-1]

    def layer(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of one layer, (heads, size, width)."""
        keys, values = self.states[index]
        return keys[:, : self.size], values[:, : self.size]

    def append(self, tokens: Ints, states: States) -> None:
        """Add tokens at the end; the room doubles, so that adding a few copies the others rarely."""
        old, new = self.size, self.size + len(tokens)
        if new > self.capacity:
            self.resize(max(new, 2 * self.capacity))
        for (keys, values), (more_keys, more_values) in zip(self.states, states):
            keys[:, old:new], values[:, old:new] = more_keys, more_values
        self.tokens = np.concatenate([self.tokens, tokens])

    def resize(self, capacity: int) -> None:
        """Copy keys and values into room for so many tokens."""
        kept = min(self.size, capacity)

        def copied(old: torch.Tensor) -> torch.Tensor:
            new = old.new_empty(old.shape[0], capacity, old.shape[2])
            new[:, :kept] = old[:, :kept]
            return new

        self.states = [(copied(keys), copied(values)) for keys, values in self.states]
        self.capacity = capacity


class Radix:
    """The tree. `root` gives the keys and values before the first token of a name's paths: those of virtual tokens."""

    def __init__(self, root: Callable[[str], States] = lambda name: []):
        self._root = root
        self._roots: dict[str, Node] = {}
        self.nodes: set[Node] = set()
        """All but the roots."""
        self.bytes = 0
        """Of the keys and values in the nodes."""
        self._clock = count(1)

    def match(self, name: str, ids: Sequence[int]) -> tuple[Node, int]:
        """The node whose path is the longest known beginning of these tokens, and its length in tokens."""
        return self._walk(self._at(name), np.asarray(ids, np.int64))

    def add(self, name: str, ids: Sequence[int], states: States, first: int) -> Node:
        """The node whose path is these tokens. What is not there yet is copied from `states`, which begin at token `first`."""
        tokens = np.asarray(ids, np.int64)
        node, known = self._walk(self._at(name), tokens)
        if known == len(tokens):
            return node
        fresh = [(keys[:, known - first :], values[:, known - first :]) for keys, values in states]
        if node.parent is not None and not (node.children or node.pins):
            before = node.capacity
            node.append(tokens[known:], fresh)
            self.bytes += (node.capacity - before) * _bytes(node)
            return node
        child = Node(node, tokens[known:], node.end, [(k.contiguous().clone(), v.contiguous().clone()) for k, v in fresh])
        return self._attached(child)

    def trim(self, node: Node) -> None:
        """Give back the room that a node has for more tokens."""
        if node in self.nodes and node.capacity > node.size:
            self.bytes -= (node.capacity - node.size) * _bytes(node)
            node.resize(node.size)

    def shrink(self, most: int) -> int:
        """Drop what was used longest ago, until at most so many bytes are left or all else is in use. Returns bytes freed."""
        before = self.bytes
        while self.bytes > most:
            free = [node for node in self.nodes if not (node.children or node.pins or node.users)]
            if not free:
                break
            for node in sorted(free, key=lambda one: one.used):
                if self.bytes <= most:
                    break
                self._drop(node)
        self._roots = {name: root for name, root in self._roots.items() if root.children or root.pins or root.users}
        return before - self.bytes

    def _at(self, name: str) -> Node:
        if name not in self._roots:
            states = self._root(name)
            before = states[0][0].shape[-2] if states else 0
            self._roots[name] = Node(None, np.zeros(before, np.int64), 0, states)
        return self._roots[name]

    def _walk(self, node: Node, tokens: Ints) -> tuple[Node, int]:
        known, now = 0, next(self._clock)
        while known < len(tokens) and (child := node.children.get(int(tokens[known]))):
            same = common_prefix(child.tokens, tokens[known:])
            node = child if same == child.size else self._split(child, same)
            node.used = now
            known += same
        return node, known

    def _split(self, node: Node, size: int) -> Node:
        """Cut a node in two; returns the upper one. The lower one stays the same object: rows that continue it go on."""
        assert node.parent is not None, "a root is not split"

        def part(of: slice) -> States:
            return [(keys[:, of].clone(), values[:, of].clone()) for keys, values in node.states]

        upper = Node(node.parent, node.tokens[:size], node.start, part(slice(size)))
        lower = part(slice(size, node.size))
        self._detached(node)
        upper.used = node.used
        node.states, node.tokens = lower, node.tokens[size:]
        node.start, node.parent, node.capacity = node.start + size, upper, len(node.tokens)
        self._attached(upper)
        self._attached(node)
        return upper

    def _attached(self, node: Node) -> Node:
        assert node.parent is not None
        node.parent.children[int(node.tokens[0])] = node
        self.nodes.add(node)
        self.bytes += node.capacity * _bytes(node)
        node.used = node.used or next(self._clock)
        return node

    def _detached(self, node: Node) -> None:
        self.nodes.discard(node)
        self.bytes -= node.capacity * _bytes(node)

    def _drop(self, node: Node) -> None:
        assert node.parent is not None
        self._detached(node)
        del node.parent.children[int(node.tokens[0])]


def _bytes(node: Node) -> int:
    """Bytes of one token's keys and values."""
    sizes: list[Any] = [x.shape[0] * x.shape[2] * x.element_size() for pair in node.states for x in pair]
    return int(sum(sizes))
