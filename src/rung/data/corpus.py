"""Raw text: a stream of documents from files and folders, with a share held out by content hash."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from rung.data.files import lines, quoted, read_rows
from rung.errors import DataError
from rung.types import Texts, digest

PROSE = (".txt", ".md")
TABLES = (".jsonl", ".ndjson", ".parquet")
COLUMN = "text"
"""Table column with one document per row."""

PIECE_CHARS = 10_000
"""A prose file is cut at the first blank line after this many characters, or at a line end after twice as many.

A single file is often the whole corpus. In pieces, part of it can be held out, and it need not fit into memory."""


def find_texts(folder: Path, given: Iterable[str], keep: Callable[[Path], bool] = lambda path: True) -> Texts:
    """Files named in rung.yaml, relative to `folder`, in order, with a digest of their content.

    `keep`: whether a file may be used for training; others are skipped.

    From a folder, all .txt, .md, .jsonl, .ndjson and .parquet files are used, sorted by name. DataError for missing, empty or
    other files; the text itself is read by `documents`.
    """
    files = [path for label in given for path in _files(folder / label, label) if keep(path)]
    if empty := [str(path) for path in files if not path.stat().st_size]:
        raise DataError(f"empty files: {', '.join(empty)}.", remedy="Fill or delete them.")
    if not files:
        return Texts()
    name = digest([[path.suffix, _sha256(path)] for path in files])
    return Texts(tuple(map(str, files)), name, size=sum(path.stat().st_size for path in files))


def documents(found: Texts) -> Iterator[str]:
    """Iterate over documents: table rows, and prose files whole or in pieces. DataError for unreadable ones."""
    for name in found.files:
        path, some = Path(name), False
        for document in _rows(path) if path.suffix.lower() in TABLES else _pieces(lines(path, name)):
            if document.strip():
                some = True
                if place(document) < found.share:
                    yield document
        if not some:
            raise DataError("the file has no text.", where=name, remedy="Fill or remove it.")


def cuts(found: Texts, *shares: float) -> list[float]:
    """Hash thresholds that separate documents: those below the first are about the first share, and so on.

    Each non-zero share gets at least one document, and at least one is left. This is a full pass over the text, which also
    finds all errors in it.
    """
    places = sorted({place(document) for document in documents(found)})
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
            first = next(one for one in places if one >= end)
            end = min(max(at, math.nextafter(first, 1)), places[-1 - wanted])
        out.append(end)
    return out


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
    return int.from_bytes(hashlib.sha256(document.encode()).digest()[:7]) / 2**56


def _files(path: Path, label: str) -> list[Path]:
    if path.is_dir():
        inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in (*PROSE, *TABLES) and p.is_file())
        files = [p for p in inside if not any(name.startswith(".") for name in p.relative_to(path).parts)]
        if not files:
            raise DataError(
                "the folder has no text file.", where=label, remedy=f"Put {', '.join((*PROSE, *TABLES))} files into it."
            )
        return files
    if not path.is_file():
        raise DataError("the file does not exist.", where=label, remedy="Paths are relative to rung.yaml.")
    if path.suffix.lower() not in (*PROSE, *TABLES):
        raise DataError(
            f"raw text cannot be read from a {path.suffix or 'nameless'} file.",
            where=label,
            remedy=f"Give {', '.join((*PROSE, *TABLES))} files, or a folder of them.",
        )
    return [path]


def _rows(path: Path) -> Iterator[str]:
    for row, where in read_rows(path, str(path)):
        text = row.get(COLUMN)
        if not isinstance(text, str):
            have = f"is {quoted(text)}" if COLUMN in row else f"is not among {', '.join(map(repr, row))}"
            raise DataError(f"the column {COLUMN!r} {have}.", where=where, remedy="It must hold the document, as text.")
        yield text


def _pieces(rows: Iterable[str]) -> Iterator[str]:
    kept: list[str] = []
    size = 0
    for line in rows:
        line = line.replace("\r\n", "\n")
        kept.append(line)
        size += len(line)
        if size >= (2 * PIECE_CHARS if line.strip() else PIECE_CHARS):
            yield "".join(kept).strip("\n")
            kept, size = [], 0
    yield "".join(kept).strip("\n")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
