"""Raw text: files and folders to a stream of documents, a share of them held out by their content."""

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
"""Column of a table that holds a document a row."""

PIECE = 10_000
"""Characters after which a prose file is cut at its next blank line; without one, at the line end behind twice as many.

One file is often a whole corpus. In pieces some of it can be held out, and none of it need fit in memory."""


def texts(folder: Path, given: Iterable[str], keep: Callable[[Path], bool] = lambda path: True) -> Texts:
    """The files that paths of rung.yaml name, relative to `folder`, in order, and the digest of what they hold.

    `keep`: whether a file may be learnt from; the others are left out.

    Of a folder all .txt, .md, .jsonl, .ndjson and .parquet files are taken, sorted by name. DataError for what is
    missing, of another kind, or empty; the text itself is first read by `documents`.
    """
    files = [path for label in given for path in _files(folder / label, label) if keep(path)]
    if empty := [str(path) for path in files if not path.stat().st_size]:
        raise DataError(f"there is nothing in {', '.join(empty)}.", remedy="Fill or delete what is empty.")
    if not files:
        return Texts()
    name = digest([[path.suffix, _sha256(path)] for path in files])
    return Texts(tuple(map(str, files)), name, size=sum(path.stat().st_size for path in files))


def documents(found: Texts) -> Iterator[str]:
    """One document after another: a table's rows, a prose file whole or in pieces. DataError where one cannot be read."""
    for name in found.files:
        path, some = Path(name), False
        for document in _rows(path) if path.suffix.lower() in TABLES else _pieces(lines(path, name)):
            if document.strip():
                some = True
                if place(document) < found.share:
                    yield document
        if not some:
            raise DataError("there is no text in it, only blanks.", where=name, remedy="Fill it or leave it out.")


def cuts(found: Texts, *shares: float) -> list[float]:
    """The places that cut documents off: those below the first are about the first share of them, and so on.

    Each share that is not 0 gets one document at least, and one is left. A first pass over the text, which also finds every
    fault in it.
    """
    places = sorted({place(document) for document in documents(found)})
    wanted = sum(map(bool, shares))
    if wanted and len(places) <= wanted:
        raise DataError(
            f"the text is {len(places)} document{'s' * (len(places) != 1)} only, and none would be left once {wanted} "
            f"{'are' if wanted > 1 else 'is'} held out, to measure on or to choose by.",
            where=", ".join(found.files),
            remedy="Give more text, or set the method's option held to 0 and leave patience out.",
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


def held_below(found: Texts, share: float) -> float:
    """The place below which a document is held out, so that about `share` of them are; with a share of 0 nothing is."""
    return cuts(found, share)[0]


def part(found: Texts, below: float, *, held: bool) -> Iterator[str]:
    """The documents held out, or those to train on."""
    return between(found, 0.0, below) if held else between(found, below, 1.0)


def between(found: Texts, low: float, high: float) -> Iterator[str]:
    """The documents from one place up to another."""
    return (document for document in documents(found) if low <= place(document) < high)


def place(document: str) -> float:
    """A number in [0, 1) that only the content settles: equal documents are held out together."""
    return int.from_bytes(hashlib.sha256(document.encode()).digest()[:7]) / 2**56


def _files(path: Path, label: str) -> list[Path]:
    if path.is_dir():
        inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in (*PROSE, *TABLES) and p.is_file())
        files = [p for p in inside if not any(name.startswith(".") for name in p.relative_to(path).parts)]
        if not files:
            raise DataError(
                "no text file is in the folder.", where=label, remedy=f"Put {', '.join((*PROSE, *TABLES))} files into it."
            )
        return files
    if not path.is_file():
        raise DataError("there is no such file.", where=label, remedy="Paths are relative to rung.yaml.")
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
        if size >= (2 * PIECE if line.strip() else PIECE):
            yield "".join(kept).strip("\n")
            kept, size = [], 0
    yield "".join(kept).strip("\n")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
