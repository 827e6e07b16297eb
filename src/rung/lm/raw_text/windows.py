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
    pairs = [
        (begin, min(begin + length + 1, end))
        for first, end in zip(shard.starts.tolist(), shard.ends.tolist())
        for begin in range(first, end - 1, length)
    ]
    return np.array(pairs, np.int64).reshape(-1, 2)
