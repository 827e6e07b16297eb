"""The second pass of a screening: documents that repeat an earlier one, exactly or nearly, over all ranges.

Equal keys meet by sorting, one share of the keys at a time, so that memory does not grow with the corpus but for one byte a
document. Near duplicates share a band of their MinHash signatures (Broder 1997; Leskovec, Rajaraman and Ullman, Mining of
Massive Datasets, chapter 3) and are compared by their whole signatures. http://infolab.stanford.edu/~ullman/mmds/ch3n.pdf
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rung.data.screening.survey import DIGESTS, DUPLICATE, EXAMPLES, NEAR_DUPLICATE, NUMBERS, SIGNATURES
from rung.data.screening.words import MULTIPLIER

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_KEYS = 1 << 22
"""About how many keys are sorted at once."""
FOUND = 0.99
"""Chance that two documents as alike as the threshold share a band."""


@dataclass(frozen=True, slots=True)
class Surveyed:
    """The ranges of a survey."""

    folders: tuple[Path, ...]
    starts: NDArray[Any]
    """The number of the first document of each range among all, and the number of documents; (R + 1,)."""
    reasons: NDArray[Any]
    """Why each document is left out, 0 if it is not; changed in place."""

    def range_of(self, document: int) -> tuple[int, int]:
        """The range of a document, and its number there."""
        import numpy as np

        at = int(np.searchsorted(self.starts, document, side="right")) - 1
        return at, int(document - self.starts[at])


def mark_equal(found: Surveyed) -> list[tuple[int, int]]:
    """Mark documents whose content an earlier one has. Returns a few of them, each with an earlier one that is equal."""
    import numpy as np

    pairs: list[tuple[int, int]] = []
    for keys, documents in _sorted_keys(found, lambda folder: np.memmap(folder / DIGESTS, np.uint64, "r")):
        again = np.flatnonzero(keys[1:] == keys[:-1]) + 1
        found.reasons[documents[again]] = DUPLICATE
        again = again[np.argsort(documents[again])][:EXAMPLES]
        pairs = sorted([*pairs, *zip(documents[again].tolist(), documents[again - 1].tolist())])[:EXAMPLES]
    return pairs


def mark_near(found: Surveyed, threshold: float) -> list[tuple[int, int]]:
    """Mark documents that are like an earlier one. Returns a few of them, each with that one."""
    import numpy as np

    rows = rows_per_band(threshold)
    powers = np.array([pow(MULTIPLIER, i, 2**64) for i in range(rows)], np.uint64)
    signatures = [_signatures(folder) for folder in found.folders]
    pairs: list[tuple[int, int]] = []
    for band in range(NUMBERS // rows):

        def keys_of(folder: Path, columns: slice = slice(band * rows, (band + 1) * rows)) -> NDArray[Any]:
            return (_signatures(folder)[:, columns].astype(np.uint64) * powers).sum(1, dtype=np.uint64)

        for keys, documents in _sorted_keys(found, keys_of):
            for group in np.split(documents, np.flatnonzero(keys[1:] != keys[:-1]) + 1) if len(keys) else ():
                if len(group) > 1:
                    pairs = sorted([*pairs, *_mark_group(found, signatures, group, threshold)])[:EXAMPLES]
    return pairs


def rows_per_band(threshold: float) -> int:
    """Most numbers of a band with which documents as alike as the threshold share one with the chance FOUND."""
    return max(r for r in range(1, NUMBERS + 1) if r == 1 or 1 - (1 - threshold**r) ** (NUMBERS // r) >= FOUND)


def _mark_group(
    found: Surveyed, signatures: Sequence[NDArray[Any]], group: NDArray[Any], threshold: float
) -> Iterator[tuple[int, int]]:
    """Mark the documents of a group that are like its first."""
    import numpy as np

    at, row = found.range_of(int(group[0]))
    first = signatures[at][row]
    for document in group[1:].tolist():
        at, row = found.range_of(document)
        if np.mean(signatures[at][row] == first) >= threshold:
            found.reasons[document] = NEAR_DUPLICATE
            yield document, int(group[0])


def _sorted_keys(found: Surveyed, keys_of: Callable[[Path], NDArray[Any]]) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """The keys of the documents that are not left out, sorted, with the documents; equal ones together, in order."""
    import numpy as np

    bits = max(0, (len(found.reasons) // MOST_KEYS).bit_length())
    for share in range(1 << bits):
        keys, documents = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
        for folder, start, end in zip(found.folders, found.starts.tolist(), found.starts[1:].tolist()):
            if start == end:
                continue
            own = keys_of(folder)
            wanted = found.reasons[start:end] == 0
            if bits:
                wanted &= own >> np.uint64(64 - bits) == share
            at = np.flatnonzero(wanted)
            keys.append(own[at])
            documents.append(at + start)
        every, of = np.concatenate(keys), np.concatenate(documents)
        order = np.argsort(every, kind="stable")
        yield every[order], of[order]


def _signatures(folder: Path) -> NDArray[Any]:
    import numpy as np

    path = folder / SIGNATURES
    return np.memmap(path, np.uint32, "r").reshape(-1, NUMBERS) if path.exists() else np.empty((0, NUMBERS), np.uint32)
