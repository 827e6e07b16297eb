"""Documents cut to windows of a fixed length, and a window as a row whose tokens are all learned."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rung.lm.raw_text.shards import Shard
from rung.lm.trees.tree import Ints, Row


def row(tokens: NDArray[Any]) -> Row:
    """A window of text: every token but the first is learnt."""
    return Row(tuple(tokens.tolist()), (False, *[True] * (len(tokens) - 1)))


def windows(shard: Shard, length: int) -> Ints:
    """Windows of `length` predicted tokens that documents are cut to, (W, 2): where each begins and ends.

    A document's last bit is kept, however short. Neighbouring windows share one token, the last target of the one and
    the first input of the other, so that every token but the document's first is learnt once.
    """
    found = [
        (begin, min(begin + length + 1, end))
        for first, end in zip(shard.starts.tolist(), shard.ends.tolist())
        for begin in range(first, end - 1, length)
    ]
    return np.array(found, np.int64).reshape(-1, 2)
