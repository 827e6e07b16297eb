"""Raw text to training steps: documents cut to windows that see nothing of each other, drawn by seed and step alone."""

from __future__ import annotations

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
    """What is trained on in each step. The same step is the same rows at any time, so a killed run goes on exactly."""

    def __len__(self) -> int: ...
    def __getitem__(self, step: int) -> list[Row]: ...


def drawn(steps: Steps) -> Items:
    """Items for `train.run(loaded, range(len(steps)), …)`: each step's rows are made when their turn comes."""
    return Items(rows=lambda item: (item,) if isinstance(item, Row) else (), ready=lambda _, step: steps[step])


@dataclass(frozen=True)
class Mixed:
    """Steps of domain windows with a share of general ones. Over prefix trees each window is a tree of its own."""

    sources: tuple[tuple[Shard, Ints], ...]
    """Domain text, and general text where some is replayed, each with its windows."""
    steps: tuple[tuple[tuple[int, int], ...], ...]
    """For each step its windows, as (source, window)."""

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, step: int) -> list[Row]:
        rows = []
        for source, window in self.steps[step]:
            shard, cut = self.sources[source]
            rows.append(row(shard.tokens[slice(*cut[window])]))
        return rows


def mix(domain: Shard, general: Shard | None, share: float, length: int, size: int, epochs: int, seed: int) -> Mixed:
    """Steps of about `size` predicted tokens that go `epochs` times through the domain text, in another order each time.

    General windows come in whenever their tokens fall behind `share` of all so far, so the share is right to one window
    at any step; when they are all used they come again.
    """
    sources = [(one, windows(one, length)) for one in (domain, general) if one is not None]
    sizes = [cut[:, 1] - cut[:, 0] - 1 for _, cut in sources]
    if not all(map(len, sizes)):
        raise DataError("the text is too short to learn anything from.", remedy="Give more text.")
    orders = [_orders(len(own), np.random.default_rng([seed, i])) for i, own in enumerate(sizes)]
    left = epochs * len(sizes[0])
    done, filled = [0, 0], 0
    steps: list[tuple[tuple[int, int], ...]] = []
    current: list[tuple[int, int]] = []
    while left:
        source = int(general is not None and done[1] < share * sum(done))
        window = next(orders[source])
        left -= source == 0
        tokens = int(sizes[source][window])
        if current and filled + tokens > size:
            steps.append(tuple(current))
            current, filled = [], 0
        current.append((source, window))
        filled += tokens
        done[source] += tokens
    return Mixed(tuple(sources), (*steps, tuple(current)))


def _orders(size: int, random: np.random.Generator) -> Iterator[int]:
    for _ in count():
        yield from random.permutation(size).tolist()


# One long text


@dataclass(frozen=True)
class Draws:
    """Steps of windows drawn anywhere from the whole text, as pre-training does: a window may span documents."""

    tokens: NDArray[Any]
    length: int
    """Tokens predicted a window."""
    batch: int
    """Windows a step."""
    count: int
    """Steps."""
    seed: int

    def __post_init__(self) -> None:
        if len(self.tokens) <= self.length:
            raise DataError(
                f"the text has {len(self.tokens)} tokens, fewer than one window of {self.length}.",
                remedy="Give more text, or set a smaller context.",
            )

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, step: int) -> list[Row]:
        begins = np.random.default_rng([self.seed, step]).integers(0, len(self.tokens) - self.length, self.batch)
        return [row(self.tokens[begin : begin + self.length + 1]) for begin in begins]


def dense(model: Any, rows: Sequence[Row], trees: bool) -> torch.Tensor:
    """The loss of windows of one length, summed, in nats. They share nothing, so plain causal attention is faster than a tree."""
    ids = torch.tensor([row.tokens for row in rows], device=model.device)
    logits = model(input_ids=ids[:, :-1], use_cache=False).logits
    return cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten(), reduction="sum")
