"""The first pass of dense search: an int8 copy of the vectors, a quarter of the bytes, that loses no result.

A row v is stored as s·c, with integers c from -127 to 127 and one scale s, and the norm of the error v - s·c. The query q
becomes t·d in the same way. Then q·v differs from s·t·(c·d), where c·d is exact in integers, by at most
|q|·|v - s·c| + |q - t·d|·|s·c| (Cauchy-Schwarz). Only rows that could be among the best by this bound are scored exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rung.retrieve.store import Vector

VERSION = 1
"""Increase when `encode` gives other values: copies of another version are rebuilt."""

TOP = 127
GROUP = 64
"""Group size for a quick lower bound: only the largest score of each group is considered."""


def encode(vectors: Vector) -> tuple[NDArray[np.int8], Vector]:
    """(rows, width) to int8 codes of that shape and (rows, 3): scale s, norm of v - s·c, norm of s·c."""
    exact = vectors.astype(np.float64)
    scale = (np.abs(exact).max(axis=1, keepdims=True, initial=0) / TOP).astype(np.float32).astype(np.float64)
    codes = np.rint(exact / np.where(scale > 0, scale, 1)).clip(-TOP, TOP)
    decoded = codes * scale
    bounds = np.column_stack([scale[:, 0], np.linalg.norm(exact - decoded, axis=1), np.linalg.norm(decoded, axis=1)])
    return codes.astype(np.int8), bounds.astype(np.float32)


@dataclass(frozen=True, slots=True)
class Coarse:
    """The int8 copy of a matrix; (rows, width) and (rows,)."""

    codes: NDArray[np.int8]
    scale: Vector
    rest: Vector
    """Norm of v - s·c."""
    longest: float
    """Upper bound on the norm of any row: the largest |s·c| + |v - s·c|."""

    def near(self, vector: Vector, depth: int, allowed: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Rows that include the `depth` best allowed ones by dot product with the vector, ascending.

        At least `depth` rows must be allowed. The bound includes float32 rounding, here and in the exact comparison.
        """
        import numkong  # int8 kernels, single-threaded: memory-bound

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
    """A threshold that at least `depth` scores reach, and few more.

    The depth-th largest of the group maxima, in one quick pass, or of all scores.
    """
    whole = len(scores) // GROUP * GROUP
    largest = scores[:whole].reshape(GROUP, -1).max(axis=0)
    for some in (largest, scores):
        if len(some) >= depth and (found := np.partition(some, len(some) - depth)[len(some) - depth]) > -np.inf:
            break
    return float(found)
