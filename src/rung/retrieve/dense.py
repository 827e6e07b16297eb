"""Dense search: exact cosine similarity over a memory-mapped float32 matrix, derived from the store.

`vectors.f32` and `rows.i64` hold one line per passage, ordered by row number, and only grow. `codes.i8` and `bounds.f32` are
for the first pass (`rung.retrieve.coarse`). `stamp.json`, written last and renamed into place, states how many lines are
valid. A process killed earlier leaves lines beyond that number, which the next process truncates.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rung import files
from rung.retrieve.coarse import VERSION, Coarse, encode
from rung.retrieve.store import Vector

NewRows = Callable[[int], Iterator[tuple[int, bytes]]]
"""From a row number to (row, bytes of the vector) of all passages with a higher number, ascending."""

MAX_HOLES = 0.5
"""Share of lines without a passage above which the matrix is rebuilt."""

COARSE_FROM = 5_000
"""Lines from which the first pass pays off: single trials with cold caches put it between 4,000 and 8,000."""

COPY_SHARE = 1 / 16
"""Up to this share of the lines, copying them costs less than a pass over all, coarse or not."""

ENCODE_BATCH = 4096
"""Lines per call of `encode`."""


@dataclass(frozen=True, slots=True)
class Stamp:
    store: str
    """The store's id, so that the matrix of another store is never used."""
    generation: int
    lines: int
    width: int
    codes: int = 0
    """Version of the codes; 0 if they are missing, as in an index of an earlier release."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """One generation's vectors."""

    vectors: Vector
    """(lines, width)"""
    rows: NDArray[np.int64]
    """Row numbers of the passages, ascending; (lines,)."""
    coarse: Coarse | None = None

    def search(self, vector: Vector, depth: int, allowed: NDArray[np.bool_]) -> list[tuple[int, float]]:
        """The `depth` nearest allowed lines, and any that tie with the last: (row, cosine), best first.

        A line's score is the same to the last bit however it is found: it depends on no other line.
        """
        count, few = int(np.count_nonzero(allowed)), COPY_SHARE * len(allowed)
        depth = min(depth, count)
        if not depth:
            return []
        if self.coarse is None or len(allowed) < COARSE_FROM or count <= few:
            lines = np.flatnonzero(allowed)
        else:
            lines = self.coarse.near(vector, depth, allowed)
        scores = np.vecdot(self.vectors[lines], vector) if len(lines) <= few else np.vecdot(self.vectors, vector)[lines]
        top = _best(scores, depth)
        return list(zip(self.rows[lines[top]].tolist(), scores[top].tolist()))


def _best(scores: Vector, depth: int) -> NDArray[np.int64]:
    """Indices of the `depth` largest scores and of any that tie with the last, largest first."""
    reached = np.flatnonzero(scores >= np.partition(scores, len(scores) - depth)[len(scores) - depth])
    return reached[np.argsort(-scores[reached], kind="stable")]


def catch_up(folder: Path, store: str, generation: int, live: NDArray[np.int64], width: int, new_rows: NewRows) -> None:
    """Update the matrix to this generation: appends new passages; rebuilds it if there are too many holes.

    `live`: row numbers of all passages, ascending. Only one process may call it at a time.
    """
    stamp = _read(folder)
    if stamp and stamp.codes != VERSION:
        stamp = _write_codes(folder, stamp, 0)
    if stamp and stamp.store == store and stamp.generation == generation:
        return
    if stamp is None or stamp.store != store or stamp.width != width or _holes(folder, stamp, live) > MAX_HOLES:
        _rebuild(folder, Stamp(store, generation, 0, width), new_rows)
        return
    rows = _rows(folder, stamp)
    added = _append(folder, stamp.lines, width, new_rows(int(rows[-1]) if len(rows) else 0))
    _write_codes(folder, Stamp(store, generation, stamp.lines + added, width), stamp.lines)


def load(folder: Path) -> Matrix:
    """The matrix of the last stamp."""
    stamp = _read(folder)
    assert stamp is not None and stamp.codes, f"{folder} holds no stamp"
    if not stamp.lines:
        return Matrix(np.zeros((0, stamp.width), np.float32), np.zeros(0, np.int64))
    scale, rest, length = np.fromfile(folder / "bounds.f32", np.float32, stamp.lines * 3).reshape(-1, 3).T.copy()
    coarse = Coarse(_mapped(folder / "codes.i8", np.int8, stamp), scale, rest, float((rest + length).max()))
    return Matrix(_mapped(folder / "vectors.f32", np.float32, stamp), _rows(folder, stamp), coarse)


def _mapped(path: Path, kind: type[np.generic], stamp: Stamp) -> NDArray[Any]:
    return np.asarray(np.memmap(path, kind, "r", shape=(stamp.lines, stamp.width)))


def _rebuild(folder: Path, stamp: Stamp, new_rows: NewRows) -> None:
    files.sweep_beside(folder)
    with files.whole_folder(folder) as part:
        lines = _append(part, 0, stamp.width, new_rows(0))
        _write_codes(part, replace(stamp, lines=lines), 0)


def _write_codes(folder: Path, stamp: Stamp, begin: int) -> Stamp:
    """Append the codes of the lines from `begin` on, and then write the stamp."""
    names = folder / "codes.i8", folder / "bounds.f32"
    if not begin:
        for path in names:  # not truncated: another process may have the old files mapped
            path.unlink(missing_ok=True)
    with files.open_at(names[0], begin * stamp.width) as codes, files.open_at(names[1], begin * 12) as bounds:
        for start in range(begin, stamp.lines, ENCODE_BATCH):
            code, bound = encode(_mapped(folder / "vectors.f32", np.float32, stamp)[start : start + ENCODE_BATCH])
            codes.write(code.tobytes())
            bounds.write(bound.tobytes())
    stamp = replace(stamp, codes=VERSION)
    _write(folder, stamp)
    return stamp


def _append(folder: Path, lines: int, width: int, new: Iterator[tuple[int, bytes]]) -> int:
    added = 0
    matrix, numbers = folder / "vectors.f32", folder / "rows.i64"
    with files.open_at(matrix, lines * width * 4) as vectors, files.open_at(numbers, lines * 8) as rows:
        for row, blob in new:
            assert len(blob) == width * 4, f"a vector of {len(blob) // 4} numbers among those of {width}"
            vectors.write(blob)
            rows.write(np.int64(row).tobytes())
            added += 1
    return added


def _holes(folder: Path, stamp: Stamp, live: NDArray[np.int64]) -> float:
    rows = _rows(folder, stamp)
    return 1 - float(np.isin(rows, live, assume_unique=True).mean()) if len(rows) else 0.0


def _rows(folder: Path, stamp: Stamp) -> NDArray[np.int64]:
    return np.fromfile(folder / "rows.i64", np.int64, stamp.lines) if stamp.lines else np.zeros(0, np.int64)


def _read(folder: Path) -> Stamp | None:
    """The stamp; None if it or its data are missing."""
    path = folder / "stamp.json"
    if not path.exists():
        return None
    try:
        stamp = Stamp(**json.loads(path.read_text()))
    except (ValueError, TypeError):  # damaged: the data are derived and can be rebuilt
        return None
    if not _long_enough(folder, {"vectors.f32": stamp.lines * stamp.width * 4, "rows.i64": stamp.lines * 8}):
        return None
    coded = _long_enough(folder, {"codes.i8": stamp.lines * stamp.width, "bounds.f32": stamp.lines * 12})
    return stamp if coded else replace(stamp, codes=0)


def _long_enough(folder: Path, sizes: Mapping[str, int]) -> bool:
    return all((folder / name).exists() and (folder / name).stat().st_size >= size for name, size in sizes.items())


def _write(folder: Path, stamp: Stamp) -> None:
    files.write_json(folder / "stamp.json", asdict(stamp))
