"""Raw text divided into ranges of about equal size, which several processes read at once: whole files, or parts of large ones.

The ranges follow from the files alone, not from the number of processes, so whatever is made range by range is the same on
any machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rung.data.columnar import parquet_rows
from rung.data.content import check_kind
from rung.data.files import quoted, without_headers
from rung.data.json_rows import jsonl_rows
from rung.data.text import COMPRESSED, encoding, lines
from rung.errors import DataError

PROSE = (".txt", ".md")
TABLES = (".jsonl", ".ndjson", ".parquet")
COLUMN = "text"
"""Table column with one document per row."""

PIECE_CHARS = 10_000
"""A prose file is cut at the first blank line after this many characters, or at a line end after twice as many.

A single file is often the whole corpus. In pieces, part of it can be held out, and it need not fit into memory."""

SMALLEST, MOST = 8 << 20, 4096
"""Bytes of a range, and about how many ranges there are at most: a larger corpus has larger ones."""
BATCH = 256
"""Rows of a parquet file in memory at once."""


@dataclass(frozen=True, slots=True)
class Range:
    """A file, or a part of one."""

    file: str
    begin: int = 0
    """First byte, or first row group of a parquet file."""
    end: int = -1
    """One past the last; -1 for a whole file."""


def kind(path: Path) -> str:
    """The ending that says how a file is read; that of the content for a compressed one."""
    return (path.with_suffix("") if path.suffix.lower() in COMPRESSED else path).suffix.lower()


def read_as(path: Path) -> str:
    """All that a file's name says of how it is read: with the compression, and a plain file's ending as it is written."""
    ending = path.suffix.lower()
    return f"{kind(path)}{ending}" if ending in COMPRESSED else path.suffix


def usable(path: Path) -> bool:
    """Whether raw text is read from files of this name."""
    return kind(path) in (*PROSE, *TABLES) and not (kind(path) == ".parquet" and path.suffix.lower() in COMPRESSED)


def range_size(files: Iterable[str]) -> int:
    """Bytes of a range of these files: a power of two, so that it seldom changes when files are added."""
    total = sum(Path(name).stat().st_size for name in files)
    return max(SMALLEST, 1 << max(0, (total // MOST - 1).bit_length()))


def ranges(files: Iterable[str]) -> tuple[Range, ...]:
    """The ranges of all files, in order. Compressed files are not divided, nor is text in UTF-16 or UTF-32."""
    files = tuple(files)
    size = range_size(files)
    return tuple(one for name in files for one in _of_file(name, size))


def documents(one: Range) -> Iterator[str]:
    """The documents of a range that are not blank: table rows, and prose in pieces. DataError for unreadable ones."""
    try:
        for document in _texts(one):
            if document.strip():
                yield document
    except DataError:
        if one.begin:
            for _ in _texts(Range(one.file)):  # raises the same error with the line counted from the file's first
                pass
        raise


def _of_file(name: str, size: int) -> Iterator[Range]:
    path = Path(name)
    if kind(path) == ".parquet":
        yield from _row_groups(name, size)
        return
    count = -(-path.stat().st_size // size)
    if count < 2 or path.suffix.lower() in COMPRESSED or encoding(path) != "utf-8-sig":
        yield Range(name)
        return
    total = path.stat().st_size
    for i in range(count):
        yield Range(name, i * total // count, (i + 1) * total // count)


def _row_groups(name: str, size: int) -> Iterator[Range]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(name) as file:
            sizes = [file.metadata.row_group(i).total_byte_size for i in range(file.num_row_groups)]
    except (pa.ArrowException, OSError):
        yield Range(name)  # whoever reads it says what is wrong
        return
    if sum(sizes) <= size:
        yield Range(name)
        return
    begin = filled = 0
    for i, bytes_ in enumerate(sizes):
        if filled and filled + bytes_ > size:
            yield Range(name, begin, i)
            begin = i
            filled = 0
        filled += bytes_
    yield Range(name, begin, len(sizes))


def _texts(one: Range) -> Iterator[str]:
    path = Path(one.file)
    if kind(path) in TABLES:
        yield from _rows(one, path)
    else:
        yield from _pieces(lines(path, one.file, None if one.end < 0 else (one.begin, one.end)))


def _rows(one: Range, path: Path) -> Iterator[str]:
    if path.suffix.lower() not in COMPRESSED:
        check_kind(path, one.file, kind(path))
    if kind(path) == ".parquet":
        groups = {} if one.end < 0 else {"row_groups": list(range(one.begin, one.end))}
        rows = parquet_rows(path, one.file, batch_size=BATCH, **groups)
    else:
        rows = jsonl_rows(path, one.file, None if one.end < 0 else (one.begin, one.end))
    for row, where in without_headers(rows):
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
