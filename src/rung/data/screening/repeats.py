"""The second pass of a screening: documents that repeat an earlier one, exactly or nearly, over all ranges.

Equal keys meet by sorting: one pass divides them into files by their first bits, and each file is sorted by itself. So the time
grows with the documents, and memory by one byte a document. Near duplicates share a band of their MinHash signatures and are
compared by their whole signatures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from rung.data.screening import signatures
from rung.data.screening.survey import DIGESTS, DUPLICATE, EXAMPLES, NEAR_DUPLICATE

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_KEYS = 1 << 22
"""About how many keys are sorted at once."""


@dataclass(frozen=True, slots=True)
class Surveyed:
    """The ranges of a survey."""

    folders: tuple[Path, ...]
    starts: NDArray[Any]
    """The number of the first document of each range among all, and the number of documents; (R + 1,)."""
    reasons: NDArray[Any]
    """Why each document is left out, 0 if it is not; changed in place."""
    check: Callable[[], None] = lambda: None
    """Called now and then; may raise, to stop."""

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

    stored = [signatures.stored(folder) for folder in found.folders]
    pairs: list[tuple[int, int]] = []
    for band in range(signatures.NUMBERS // signatures.rows_per_band(threshold)):
        for keys, documents in _sorted_keys(found, partial(signatures.band_keys, threshold=threshold, band=band)):
            change = np.flatnonzero(keys[1:] != keys[:-1]) + 1
            begins, ends = np.append(0, change), np.append(change, len(keys))
            several = ends - begins > 1
            for begin, end in zip(begins[several].tolist(), ends[several].tolist()):
                pairs = sorted([*pairs, *_mark_group(found, stored, documents[begin:end], threshold)])[:EXAMPLES]
    return pairs


def _mark_group(
    found: Surveyed, stored: Sequence[NDArray[Any]], group: NDArray[Any], threshold: float
) -> Iterator[tuple[int, int]]:
    """Mark the documents of a group that are like its first."""
    import numpy as np

    at, row = found.range_of(int(group[0]))
    first = stored[at][row]
    for document in group[1:].tolist():
        at, row = found.range_of(document)
        if np.mean(stored[at][row] == first) >= threshold:
            found.reasons[document] = NEAR_DUPLICATE
            yield document, int(group[0])


Keys = tuple["NDArray[Any]", "NDArray[Any]"]
"""The keys of some documents, and the documents."""


def _sorted_keys(found: Surveyed, keys_of: Callable[[Path], NDArray[Any]]) -> Iterator[Keys]:
    """The keys of the documents that are not left out, sorted, with the documents; equal ones together, in order."""
    import numpy as np

    bits = max(0, (len(found.reasons) // MOST_KEYS).bit_length())
    for keys, documents in _shares(found, keys_of, bits) if bits else [_joined(_by_range(found, keys_of))]:
        order = np.argsort(keys, kind="stable")
        yield keys[order], documents[order]


def _shares(found: Surveyed, keys_of: Callable[[Path], NDArray[Any]], bits: int) -> Iterator[Keys]:
    """The keys by their first bits, through a file for each share of them."""
    import numpy as np

    with TemporaryDirectory(prefix="keys.", dir=found.folders[0].parent) as name:
        for keys, documents in _by_range(found, keys_of):
            pairs, shares = np.stack([keys, documents.astype(np.uint64)], 1), keys >> np.uint64(64 - bits)
            order = np.argsort(shares, kind="stable")
            each, begins = np.unique(shares[order], return_index=True)
            for share, some in zip(each.tolist(), np.split(order, begins[1:])):
                with (Path(name) / str(share)).open("ab") as file:  # written into: a temporary folder
                    pairs[some].tofile(file)  # written into: the same
        for path in sorted(Path(name).iterdir(), key=lambda path: int(path.name)):
            found.check()
            pairs = np.fromfile(path, np.uint64).reshape(-1, 2)
            path.unlink()
            yield pairs[:, 0], pairs[:, 1].astype(np.int64)


def _by_range(found: Surveyed, keys_of: Callable[[Path], NDArray[Any]]) -> Iterator[Keys]:
    import numpy as np

    for folder, start, end in zip(found.folders, found.starts.tolist(), found.starts[1:].tolist()):
        found.check()
        at = np.flatnonzero(found.reasons[start:end] == 0)
        if len(at):
            yield keys_of(folder)[at], at + start


def _joined(parts: Iterator[Keys]) -> Keys:
    import numpy as np

    keys, documents = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
    for own, of in parts:
        keys.append(own)
        documents.append(of)
    return np.concatenate(keys), np.concatenate(documents)
