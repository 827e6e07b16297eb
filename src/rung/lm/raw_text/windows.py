"""Documents split into windows of a fixed length, and a window as a row whose tokens are all targets."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rung.lm.raw_text.shards import Shard
from rung.lm.trees.tree import Ints, Row


def row(tokens: NDArray[Any]) -> Row:
    """A window of text; every token but the first is a target."""
    return Row(tuple(tokens.tolist()), (False, *[True] * (len(tokens) - 1)))


def windows(shard: Shard, length: int) -> Ints:
    """Begin and end of windows of `length` predicted tokens, (W, 2).

    A document's last window may be shorter. Neighbouring windows share one token, the last target of the one and the first
    input of the other, so that every token but the document's first is a target once.
    """
    counts = -((shard.starts + 1 - shard.ends) // length)  # of a document, rounded up
    owner = np.repeat(np.arange(len(counts)), counts)
    inside = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    begin = shard.starts[owner] + inside * length
    return np.stack([begin, np.minimum(begin + length + 1, shard.ends[owner])], axis=1).astype(np.int64)
