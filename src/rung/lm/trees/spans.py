"""What the queries of one step of a running batch attend to: rows that write a token each, and prompts that are read.

Every query attends to the nodes of a radix tree on its path; a writing row also to its own last tokens, and a prompt's token to
those before it in the same step. `rung.lm.trees.joined` computes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rung.lm.trees.radix import Node, States
from rung.lm.trees.slots import Slots
from rung.lm.trees.tree import Ints

HIDDEN = -1e30
"""Added to scores of keys that are not attended to. Finite: a row may see no key of a span, and infinities give NaN."""


@dataclass(frozen=True, slots=True)
class Span:
    """A node and the neighbouring queries that are under it."""

    node: Node
    level: int
    """How many nodes these queries have before this one."""
    start: int
    stop: int


@dataclass(eq=False)
class Step:
    """The queries of one step, n of them, S running rows and N tokens of prompts among them."""

    depth: Ints
    """(n,) position of each query."""
    spans: Sequence[Span]
    slots: Slots
    rows: Ints
    """(S,) the query of each running row, in the order of the slots."""
    lengths: Ints
    """(S,) tokens of each row in its slot before this step."""
    new: Ints
    """(N,) queries that are tokens of prompts: these have keys for others in this step."""
    readers: Ints
    """(R,) queries that attend to some of `new`: these themselves, and rows that begin after them."""
    sees: NDArray[np.bool_]
    """(R, N)"""
    device: Any = "cpu"
    fresh: States = field(default_factory=list)
    """Keys and values that the pass computed for all its queries, layer by layer: (heads, n, width)."""
    _made: dict[Any, torch.Tensor] = field(default_factory=dict)
    """Indices and biases, computed by the first layer of each kind and reused by the others."""

    @property
    def levels(self) -> int:
        """Most nodes on the path of a query."""
        return 1 + max((span.level for span in self.spans), default=-1)

    def index(self, name: str) -> torch.Tensor:
        """One of the arrays of this step as a tensor; `numbers` counts the rows."""
        if name not in self._made:
            values = np.arange(len(self.rows)) if name == "numbers" else getattr(self, name)
            self._made[name] = torch.from_numpy(np.ascontiguousarray(values)).to(self.device)
        return self._made[name]

    def span_bias(self, number: int, span: Span, fold: int, window: int | None, dtype: torch.dtype) -> torch.Tensor | None:
        """(1, 1, queries·fold, size), or None where no key is hidden: only a sliding window hides some of a node."""
        depth = self.depth[span.start : span.stop]
        if window is None or int(depth.max()) - span.node.start < window:
            return None
        kind = ("span", number, fold, window, dtype)
        if kind not in self._made:
            keys = span.node.start + np.arange(span.node.size)
            self._made[kind] = self._bias((depth[:, None] - keys < window).repeat(fold, 0), dtype)[None, None]
        return self._made[kind]

    def own_bias(self, size: int, fold: int, window: int | None, dtype: torch.dtype) -> torch.Tensor:
        """(S, 1, fold, size): a row sees its slot up to its own token."""
        kind = ("own", fold, window, dtype)
        if kind not in self._made:
            behind = self.lengths[:, None] - np.arange(size)  # 0: the row's own token
            allow = (behind >= 0) & (behind < window if window is not None else True)
            self._made[kind] = self._bias(allow, dtype)[:, None, None].expand(-1, 1, fold, -1)
        return self._made[kind]

    def new_bias(self, fold: int, window: int | None, dtype: torch.dtype) -> torch.Tensor:
        """(1, 1, R·fold, N)"""
        kind = ("new", fold, window, dtype)
        if kind not in self._made:
            allow = self.sees
            if window is not None:
                allow = allow & (self.depth[self.readers][:, None] - self.depth[self.new] < window)
            self._made[kind] = self._bias(allow.repeat(fold, 0), dtype)[None, None]
        return self._made[kind]

    def _bias(self, allow: NDArray[np.bool_], dtype: torch.dtype) -> torch.Tensor:
        shown = torch.from_numpy(np.ascontiguousarray(allow)).to(self.device)
        return torch.zeros(shown.shape, dtype=dtype, device=shown.device).masked_fill_(
            ~shown, max(HIDDEN, torch.finfo(dtype).min / 2)
        )
