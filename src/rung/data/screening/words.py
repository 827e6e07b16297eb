"""Words of a text as numbers, and runs of them as one number each: what documents are compared by."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

from rung.data.near import UNSPACED

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")
MULTIPLIER = 0x9E3779B97F4A7C15
"""Odd, so that it has an inverse modulo 2^64."""
MOST_KNOWN = 1_000_000
"""Words whose hash is kept in memory."""


def words(text: str) -> list[str]:
    """The words of a text, case folded; a character each in scripts without spaces."""
    return _WORD.findall(text.casefold())


class _Known(dict[str, int]):
    """Words with their hashes, computed when first asked."""

    def __missing__(self, word: str) -> int:
        if len(self) >= MOST_KNOWN:
            self.clear()
        self[word] = found = int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest())
        return found


_known = _Known()


def hashes(found: list[str]) -> NDArray[Any]:
    """A hash of 64 bits for each word, the same in every process."""
    import numpy as np

    return np.fromiter(map(_known.__getitem__, found), np.uint64, len(found))


def runs(values: NDArray[Any], length: int) -> NDArray[Any]:
    """A hash for each run of `length` words: the word i of a run, times MULTIPLIER to the power i, summed modulo 2^64."""
    import numpy as np

    if len(values) < length:
        return np.empty(0, np.uint64)
    up, down = _powers(len(values) + 1)
    sums = np.zeros(len(values) + 1, np.uint64)
    np.cumsum(values * up[: len(values)], out=sums[1:])
    return (sums[length:] - sums[:-length]) * down[: len(sums) - length]


_tables: list[NDArray[Any]] = []


def _powers(count: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """The powers of MULTIPLIER and of its inverse, from the power 0 on."""
    import numpy as np

    if not _tables or len(_tables[0]) < count:
        size = max(1024, 1 << count.bit_length())
        _tables[:] = [
            np.cumprod(np.concatenate([np.ones(1, np.uint64), np.full(size - 1, base, np.uint64)]), dtype=np.uint64)
            for base in (MULTIPLIER, pow(MULTIPLIER, -1, 2**64))
        ]
    return _tables[0], _tables[1]
