"""Training steps of raw text: independent windows of documents, determined by seed and step alone."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from rung.errors import DataError
from rung.lm.raw_text.shards import Shard
from rung.lm.raw_text.windows import row, windows
from rung.lm.training.train import Items
from rung.lm.trees.tree import Ints, Row


class Steps(Protocol):
    """The rows of each training step. A step always has the same rows, so that a killed run resumes exactly."""

    def __len__(self) -> int: ...
    def __getitem__(self, step: int) -> list[Row]: ...


def items_of(steps: Steps) -> Items:
    """Items for `train.run(loaded, range(len(steps)), …)`; each step's rows are built when the step begins."""
    return Items(rows=lambda item: (item,) if isinstance(item, Row) else (), prepare=lambda _, step: steps[step])


@dataclass(frozen=True)
class MixedSteps:
    """Steps of domain windows mixed with a share of general ones."""

    sources: tuple[tuple[Shard, Ints], ...]
    """Domain text, and general text if some is replayed, each with its windows."""
    order: NDArray[np.int64]
    """The windows of all steps, one after another."""
    source: NDArray[np.uint8]
    """The source of each."""
    ends: NDArray[np.int64]
    """One past the last window of each step."""

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, step: int) -> list[Row]:
        rows = []
        for source, window in self.drawn(step):
            shard, bounds = self.sources[source]
            rows.append(row(shard.tokens[slice(*bounds[window].tolist())]))
        return rows

    def drawn(self, step: int) -> list[tuple[int, int]]:
        """The windows of a step, as (source, window)."""
        if not 0 <= step < len(self):
            raise IndexError(step)
        part = slice(int(self.ends[step - 1]) if step else 0, int(self.ends[step]))
        return list(zip(self.source[part].tolist(), self.order[part].tolist()))


def mixed_steps(domain: Shard, general: Shard | None, share: float, length: int, size: int, epochs: int, seed: int) -> MixedSteps:
    """Steps of about `size` predicted tokens: `epochs` passes over the domain text, each in its own order.

    A general window is added whenever their tokens are below `share` of all so far, so the share is right to one window
    at any step. General windows repeat once all are used.
    """
    sources = [(one, windows(one, length)) for one in (domain, general) if one is not None]
    sizes = [bounds[:, 1] - bounds[:, 0] - 1 for _, bounds in sources]
    if not all(map(len, sizes)):
        raise DataError("the text is too short to train on.", remedy="Add text.")
    orders = [_orders(len(own), np.random.default_rng([seed, i])) for i, own in enumerate(sizes)]
    remaining = epochs * len(sizes[0])
    done, filled = [0, 0], 0
    order, of, ends = array("q"), array("B"), array("q")
    while remaining:
        source = int(general is not None and done[1] < share * sum(done))
        window = next(orders[source])
        remaining -= source == 0
        tokens = int(sizes[source][window])
        if filled and filled + tokens > size:
            ends.append(len(order))
            filled = 0
        order.append(window)
        of.append(source)
        filled += tokens
        done[source] += tokens
    ends.append(len(order))
    return MixedSteps(tuple(sources), np.frombuffer(order, np.int64), np.frombuffer(of, np.uint8), np.frombuffer(ends, np.int64))


def _orders(size: int, random: np.random.Generator) -> Iterator[int]:
    for _ in count():
        yield from map(int, random.permutation(size))  # not as a list, which takes five times the memory


# One long text


@dataclass(frozen=True)
class RandomWindows:
    """Steps of windows at random positions of the whole text, as in pre-training: a window may span documents."""

    tokens: Any
    """As in a Shard."""
    length: int
    """Predicted tokens per window."""
    batch: int
    """Windows per step."""
    count: int
    """Steps."""
    seed: int

    def __post_init__(self) -> None:
        if len(self.tokens) <= self.length:
            raise DataError(
                f"the text must be longer than one window of {self.length} tokens, got {len(self.tokens)} tokens.",
                remedy="Add text, or set a smaller context.",
            )

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, step: int) -> list[Row]:
        begins = np.random.default_rng([self.seed, step]).integers(0, len(self.tokens) - self.length, self.batch)
        return [row(self.tokens[begin : begin + self.length + 1]) for begin in begins]


def dense_loss(model: Any, rows: Sequence[Row], trees: bool) -> torch.Tensor:
    """Summed loss of windows of equal length, in nats. They share no prefix, so plain causal attention is faster than a tree."""
    ids = torch.tensor([row.tokens for row in rows], device=model.device)
    logits = model(input_ids=ids[:, :-1], use_cache=False).logits
    return cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten(), reduction="sum")
