"""Raw text: a stream of documents from files and folders, with a share held out by content hash."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rung.data import ranges
from rung.data.ranges import COLUMN as COLUMN
from rung.data.ranges import PIECE_CHARS as PIECE_CHARS
from rung.data.ranges import PROSE as PROSE
from rung.data.ranges import TABLES as TABLES
from rung.data.ranges import Range
from rung.data.text import COMPRESSED
from rung.errors import DataError
from rung.types import Texts, digest

if TYPE_CHECKING:
    from numpy.typing import NDArray

DIGESTS, LEFT_OUT = ".digests", ".left_out"
"""Endings of a screening's files for each range (`rung.data.screening`): a uint64 and a uint8 for each document."""


def find_texts(folder: Path, given: Iterable[str], keep: Callable[[Path], bool] = lambda path: True) -> Texts:
    """Files named in rung.yaml, relative to `folder`, in order, with a digest of their content.

    `keep`: whether a file may be used for training; others are skipped.

    From a folder, all .txt, .md, .jsonl, .ndjson and .parquet files are used, sorted by name, and those of text that are
    compressed (.gz, .zst). DataError for missing, empty or other files; the text itself is read by `documents`.
    """
    files = [path for label in given for path in _files(folder / label, label) if keep(path)]
    if empty := [str(path) for path in files if not path.stat().st_size]:
        raise DataError(f"empty files: {', '.join(empty)}.", remedy="Fill or delete them.")
    if not files:
        return Texts()
    content: list[Any] = [[ranges.read_as(path), _sha256(path)] for path in files]
    if any(one.end >= 0 and ranges.kind(Path(one.file)) in PROSE for one in ranges.ranges(map(str, files))):
        content.append(["ranges", ranges.range_size(map(str, files))])  # pieces of prose begin anew with each range
    return Texts(tuple(map(str, files)), digest(content), size=sum(path.stat().st_size for path in files))


def documents(found: Texts) -> Iterator[str]:
    """Iterate over documents: table rows, and prose files whole or in pieces. DataError for unreadable ones."""
    some: dict[str, bool] = {}
    for i, one in enumerate(ranges.ranges(found.files)):
        if one.file not in some:
            _refuse_blank(some)
        some.setdefault(one.file, False)
        for document, used in _marked(found, i, one):
            some[one.file] = True
            if used:
                yield document
    _refuse_blank(some)


def documents_of(found: Texts, i: int, one: Range) -> Iterator[str]:
    """The documents of the range of number `i`."""
    return (document for document, used in _marked(found, i, one) if used)


def _marked(found: Texts, i: int, one: Range) -> Iterator[tuple[str, bool]]:
    """Every document of a range, with whether it is used."""
    left_out = screened(found, i, LEFT_OUT)
    for number, document in enumerate(ranges.documents(one)):
        yield document, not (left_out is not None and left_out[number]) and place(document) < found.share


def _refuse_blank(some: dict[str, bool]) -> None:
    if blank := [name for name, has in some.items() if not has]:
        raise DataError("the file has no text.", where=blank[0], remedy="Fill or remove it.")


def screened(found: Texts, i: int, ending: str) -> NDArray[Any] | None:
    """One value for each document of a range, as the screening stored it; None without a screening."""
    import numpy as np

    if not found.screened:
        return None
    kind: type = np.uint64 if ending == DIGESTS else np.uint8
    return np.fromfile(Path(found.screened) / f"{i:05}{ending}", kind)


def cuts(found: Texts, *shares: float) -> list[float]:
    """Hash thresholds that separate documents: those below the first are about the first share, and so on.

    Each non-zero share gets at least one document, and at least one is left. Without a screening this is a full pass over the
    text, which also finds all errors in it. Takes 24 bytes of memory per document.
    """
    import numpy as np

    places = _places(found)
    wanted = sum(map(bool, shares))
    if wanted and len(places) <= wanted:
        raise DataError(
            f"the text has only {len(places)} document{'s' * (len(places) != 1)}, and none would be left after holding out "
            f"{wanted} for measuring or early stopping.",
            where=", ".join(found.files),
            remedy="Add text, or set the method's option held to 0 and remove patience.",
        )
    at, end, out = 0.0, 0.0, []
    for share in shares:
        at += share
        if share:
            wanted -= 1
            first = float(places[np.searchsorted(places, end)])
            end = min(max(at, math.nextafter(first, 1)), float(places[-1 - wanted]))
        out.append(end)
    return out


def _places(found: Texts) -> NDArray[Any]:
    """The distinct hashes of all documents, sorted."""
    import numpy as np

    if not found.screened:
        return np.unique(np.fromiter((place(document) for document in documents(found)), np.float64))
    parts = []
    for i in range(len(ranges.ranges(found.files))):
        values, left_out = screened(found, i, DIGESTS), screened(found, i, LEFT_OUT)
        assert values is not None and left_out is not None
        parts.append((values[left_out == 0] >> np.uint64(8)) / 2**56)
    every = np.unique(np.concatenate(parts))
    return every[every < found.share]


def holdout_cut(found: Texts, share: float) -> float:
    """The hash threshold below which documents are held out, about `share` of them; none for 0."""
    return cuts(found, share)[0]


def train_or_holdout(found: Texts, below: float, *, held: bool) -> Iterator[str]:
    """The held-out documents, or those for training."""
    return between(found, 0.0, below) if held else between(found, below, 1.0)


def between(found: Texts, low: float, high: float) -> Iterator[str]:
    """Documents with hashes in [low, high)."""
    return (document for document in documents(found) if low <= place(document) < high)


def place(document: str) -> float:
    """A content hash in [0, 1): equal documents are held out together."""
    return (content_hash(document) >> 8) / 2**56


def content_hash(document: str) -> int:
    """The first 64 bits of a document's SHA-256."""
    return int.from_bytes(hashlib.sha256(document.encode()).digest()[:8])


def _files(path: Path, label: str) -> list[Path]:
    read = (*PROSE, *TABLES)
    if path.is_dir():
        inside = sorted(p for p in path.rglob("*") if ranges.usable(p) and p.is_file())
        files = [p for p in inside if not any(name.startswith(".") for name in p.relative_to(path).parts)]
        if not files:
            raise DataError("the folder has no text file.", where=label, remedy=f"Put {', '.join(read)} files into it.")
        return files
    if not path.is_file():
        raise DataError("the file does not exist.", where=label, remedy="Paths are relative to rung.yaml.")
    if not ranges.usable(path):
        raise DataError(
            f"raw text cannot be read from a {path.suffix or 'nameless'} file.",
            where=label,
            remedy=f"Give {', '.join(read)} files, those of text also compressed ({', '.join(COMPRESSED)}), or a folder of them.",
        )
    return [path]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
