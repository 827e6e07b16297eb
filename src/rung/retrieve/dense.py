"""The dense leg: exact cosine search over a memory-mapped float32 matrix, derived from the store's file.

`vectors.f32` and `rows.i64` hold one line a passage, in the order of their row numbers, and only grow; `stamp.json`,
written last and renamed into place, says how many lines count. A process killed between the two leaves lines that no
stamp counts, and the next one cuts them off.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from rung.retrieve.store import Vector

NewRows = Callable[[int], Iterator[tuple[int, bytes]]]
"""From a row number to (row, vector's bytes) of all passages with a higher one, ascending."""

HOLES = 0.5
"""Above this share of lines whose passage is gone, the matrix is written anew."""

BLOCK = 64
"""Scores that are looked at together when the largest are sought."""

FEW = 0.125
"""Below this share of allowed lines, copying them out costs less than passing over all."""


@dataclass(frozen=True, slots=True)
class Stamp:
    store: str
    """The store's own name, so that a matrix of another store is never taken for this one's."""
    generation: int
    lines: int
    width: int


@dataclass(frozen=True, slots=True)
class Matrix:
    """One generation's vectors, ready to be searched."""

    vectors: Vector
    """(lines, width)"""
    rows: NDArray[np.int64]
    """Row numbers of the passages, ascending; (lines,)."""

    def search(self, vector: Vector, depth: int, allowed: NDArray[np.bool_]) -> list[tuple[int, float]]:
        """The `depth` nearest among the allowed lines: (row, cosine), best first, equal ones by row."""
        count = int(allowed.sum())
        depth = min(depth, count)
        if not depth:
            return []
        rows, vectors = self.rows, self.vectors
        few = count < FEW * len(allowed)
        if few:
            rows, vectors = rows[allowed], vectors[allowed]
        scores = vectors @ vector
        if not few and count < len(allowed):
            scores[~allowed] = -np.inf
        top = _largest(scores, depth)
        top = top[np.lexsort((rows[top], -scores[top]))]
        return [(int(rows[i]), float(scores[i])) for i in top]


def _largest(scores: Vector, depth: int) -> NDArray[np.int64]:
    """Where the `depth` largest scores are, in no order.

    They all lie in those `depth` blocks whose own largest is largest, so only these are looked into; one pass over the
    rest is enough.
    """
    whole = len(scores) // BLOCK * BLOCK
    if whole <= depth * BLOCK:
        return np.argpartition(scores, len(scores) - depth)[-depth:]
    peaks = scores[:whole].reshape(-1, BLOCK).max(axis=1)
    blocks = np.argpartition(peaks, len(peaks) - depth)[-depth:]
    inside = (blocks[:, None] * BLOCK + np.arange(BLOCK)).ravel()
    near = np.concatenate([inside, np.arange(whole, len(scores))])
    return near[np.argpartition(scores[near], len(near) - depth)[-depth:]]


def catch_up(folder: Path, store: str, generation: int, live: NDArray[np.int64], width: int, new_rows: NewRows) -> None:
    """Bring the matrix to this generation: new passages are appended; with too many holes it is written anew.

    `live`: row numbers of all passages, ascending. One process at a time.
    """
    stamp = _read(folder)
    if stamp and stamp.store == store and stamp.generation == generation:
        return
    if stamp is None or stamp.store != store or stamp.width != width or _holes(folder, stamp, live) > HOLES:
        _anew(folder, Stamp(store, generation, 0, width), new_rows)
        return
    rows = _rows(folder, stamp)
    added = _append(folder, stamp.lines, width, new_rows(int(rows[-1]) if len(rows) else 0))
    _write(folder, Stamp(store, generation, stamp.lines + added, width))


def load(folder: Path) -> Matrix:
    """The matrix of the last stamp."""
    stamp = _read(folder)
    assert stamp is not None, f"{folder} holds no stamp"
    if not stamp.lines:
        return Matrix(np.zeros((0, stamp.width), np.float32), np.zeros(0, np.int64))
    vectors = np.memmap(folder / "vectors.f32", np.float32, "r", shape=(stamp.lines, stamp.width))
    return Matrix(vectors, _rows(folder, stamp))


def _anew(folder: Path, stamp: Stamp, new_rows: NewRows) -> None:
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    lines = _append(part, 0, stamp.width, new_rows(0))
    _write(part, Stamp(stamp.store, stamp.generation, lines, stamp.width))
    shutil.rmtree(folder, ignore_errors=True)  # killed here, the next process finds no stamp and writes it anew
    part.replace(folder)


def _append(folder: Path, lines: int, width: int, new: Iterator[tuple[int, bytes]]) -> int:
    added = 0
    with _at(folder / "vectors.f32", lines * width * 4) as vectors, _at(folder / "rows.i64", lines * 8) as rows:
        for row, blob in new:
            assert len(blob) == width * 4, f"a vector of {len(blob) // 4} numbers among those of {width}"
            vectors.write(blob)
            rows.write(np.int64(row).tobytes())
            added += 1
    return added


def _at(path: Path, size: int) -> BinaryIO:
    """A file cut to its size, to be written on from there."""
    file = path.open("r+b" if path.exists() else "w+b")
    file.truncate(size)
    file.seek(size)
    return file


def _holes(folder: Path, stamp: Stamp, live: NDArray[np.int64]) -> float:
    rows = _rows(folder, stamp)
    return 1 - float(np.isin(rows, live, assume_unique=True).mean()) if len(rows) else 0.0


def _rows(folder: Path, stamp: Stamp) -> NDArray[np.int64]:
    return np.fromfile(folder / "rows.i64", np.int64, stamp.lines) if stamp.lines else np.zeros(0, np.int64)


def _read(folder: Path) -> Stamp | None:
    """The stamp; None where it, or what it speaks of, is missing."""
    path = folder / "stamp.json"
    if not path.exists():
        return None
    stamp = Stamp(**json.loads(path.read_text()))
    sizes = {"vectors.f32": stamp.lines * stamp.width * 4, "rows.i64": stamp.lines * 8}
    there = all((folder / name).exists() and (folder / name).stat().st_size >= size for name, size in sizes.items())
    return stamp if there else None


def _write(folder: Path, stamp: Stamp) -> None:
    part = folder / "stamp.json.part"
    part.write_text(json.dumps(asdict(stamp)))
    part.replace(folder / "stamp.json")
