"""MinHash signatures of documents, and the keys of their bands, by which near duplicates meet.

Broder 1997; Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, chapter 3. http://infolab.stanford.edu/~ullman/mmds/ch3n.pdf
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rung.data.screening.words import MULTIPLIER, runs

if TYPE_CHECKING:
    from numpy.typing import NDArray

NUMBERS = 128
"""Of a signature."""
SHINGLE = 5
"""Words of a run by which near duplicates are compared."""
SEED = 1
FOUND = 0.99
"""Chance that two documents as alike as the threshold share a band."""
CHUNK = 1 << 16
"""Signatures read at once."""
SIGNATURES, BANDS = "signatures.bin", "bands.bin"


def rows_per_band(threshold: float) -> int:
    """Most numbers of a band with which documents as alike as the threshold share one with the chance FOUND."""
    return max(r for r in range(1, NUMBERS + 1) if r == 1 or 1 - (1 - threshold**r) ** (NUMBERS // r) >= FOUND)


def signatures(values: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """The signature of each document's runs of words, from the hashes of its words; (D, NUMBERS) uint32."""
    import numpy as np
    from rensa import RMinHash

    each = [runs(one, min(SHINGLE, len(one))) if len(one) else one for one in values]
    starts = np.concatenate([[0], np.cumsum([len(one) for one in each])]).astype(np.uint64)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(np.concatenate(each), starts, num_perm=NUMBERS, seed=SEED)
    return np.array(matrix.to_rows(), np.uint32).reshape(len(values), NUMBERS)


def stored(folder: Path) -> NDArray[Any]:
    """The signatures of a range, on disk."""
    import numpy as np

    path = folder / SIGNATURES
    return np.memmap(path, np.uint32, "r").reshape(-1, NUMBERS) if path.exists() else np.empty((0, NUMBERS), np.uint32)


def write_bands(folder: Path, threshold: float) -> None:
    """Write the keys of the stored signatures band by band, so that one band is read without the others."""
    import numpy as np

    rows, found = rows_per_band(threshold), stored(folder)
    powers = np.array([pow(MULTIPLIER, i, 2**64) for i in range(rows)], np.uint64)
    with (folder / BANDS).open("wb") as file:  # written into: the new folder of a range
        for band in range(NUMBERS // rows):
            for start in range(0, len(found), CHUNK):
                some = found[start : start + CHUNK, band * rows : (band + 1) * rows]
                keys = (some.astype(np.uint64) * powers).sum(1, dtype=np.uint64)
                keys.tofile(file)  # written into: the same


def band_keys(folder: Path, threshold: float, band: int) -> NDArray[Any]:
    """The keys of one band of a range that has documents, on disk."""
    import numpy as np

    return np.memmap(folder / BANDS, np.uint64, "r").reshape(NUMBERS // rows_per_band(threshold), -1)[band]
