"""The first pass of the dense leg: an int8 copy of the vectors, a quarter as long to read, that loses no line that is wanted.

A line v is kept as s·c, whole numbers c from -127 to 127 and one scale s, with the length of what that leaves, v - s·c. The
question q becomes t·d in the same way. Then q·v differs from s·t·(c·d), of which c·d is exact in integers, by at most
|q|·|v - s·c| + |q - t·d|·|s·c| (Cauchy-Schwarz). Lines that could be among the best by this bound are what is left to look at.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rung.retrieve.store import Vector

VERSION = 1
"""Raise when `encode` would now give something else: copies of another version are made anew."""

TOP = 127
GROUP = 64
"""Scores of which only the largest is looked at when a high mark is sought."""


def encode(vectors: Vector) -> tuple[NDArray[np.int8], Vector]:
    """(lines, width) to whole numbers of that shape and (lines, 3): scale s, length of v - s·c, length of s·c."""
    exact = vectors.astype(np.float64)
    scale = (np.abs(exact).max(axis=1, keepdims=True, initial=0) / TOP).astype(np.float32).astype(np.float64)
    codes = np.rint(exact / np.where(scale > 0, scale, 1)).clip(-TOP, TOP)
    kept = codes * scale
    bounds = np.column_stack([scale[:, 0], np.linalg.norm(exact - kept, axis=1), np.linalg.norm(kept, axis=1)])
    return codes.astype(np.int8), bounds.astype(np.float32)


@dataclass(frozen=True, slots=True)
class Coarse:
    """The copy of a matrix, ready to be searched; (lines, width) and (lines,)."""

    codes: NDArray[np.int8]
    scale: Vector
    rest: Vector
    """Length of v - s·c."""
    longest: float
    """No line is longer: the greatest |s·c| + |v - s·c|."""

    def near(self, vector: Vector, depth: int, allowed: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Lines that hold the `depth` best of the allowed ones by their product with the vector, ascending.

        `allowed` must hold as many. The bound takes in the rounding of float32 products, here and where they are compared.
        """
        import numkong  # the int8 kernels of this processor, on one thread; what is left to win is the memory's

        codes, bounds = encode(vector[None])
        scale, rest, _ = bounds[0].tolist()
        length, numbers = float(np.linalg.norm(vector.astype(np.float64))), np.finfo(np.float32)
        rounding = (len(vector) + 8) * numbers.eps * (length + rest) * self.longest + numbers.tiny
        off = self.rest * np.float32(length)
        off += np.float32(rest * self.longest + rounding)
        scores = np.asarray(numkong.dot(codes, self.codes, out_dtype="float32")).reshape(-1) * self.scale
        scores *= np.float32(scale)
        least, most = scores - off, scores + off
        if not allowed.all():
            least[~allowed] = most[~allowed] = -np.inf
        return np.flatnonzero(most >= _reached(least, depth))


def _reached(scores: Vector, depth: int) -> float:
    """A number that at least `depth` scores reach, and few more.

    The depth-th largest of all; or, in one quick pass, of the largest of every group of `GROUP` scores.
    """
    whole = len(scores) // GROUP * GROUP
    largest = scores[:whole].reshape(GROUP, -1).max(axis=0)
    for some in (largest, scores):
        if len(some) >= depth and (found := np.partition(some, len(some) - depth)[len(some) - depth]) > -np.inf:
            break
    return float(found)
