"""File kind by its first bytes, to detect wrong names: a workbook named .csv, a web page saved as .xls."""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

from rung.errors import DataError


@dataclass(frozen=True, slots=True)
class FileKind:
    """A kind of file."""

    what: str
    remedy: str
    ending: str = ""
    """The extension under which it can be read; empty if it cannot."""


def _readable(what: str, ending: str) -> FileKind:
    return FileKind(what, f"Rename it to end in {ending}, or save it in the format of its name.", ending)


ZIP = b"PK\x03\x04"
STARTS: tuple[tuple[bytes, FileKind], ...] = (
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", _readable("an old Office file, or one with a password", ".xls")),
    (b"PAR1", _readable("a parquet file", ".parquet")),
    (b"ARROW1", _readable("an arrow file", ".arrow")),
    (b"\x1f\x8b", FileKind("compressed by gzip", "Unpack it (gunzip), and name the file that comes out.")),
    (b"\x28\xb5\x2f\xfd", FileKind("compressed by zstd", "Unpack it (unzstd), and name the file that comes out.")),
    (b"BZh", FileKind("compressed by bzip2", "Unpack it (bunzip2), and name the file that comes out.")),
    (b"\xfd7zXZ", FileKind("compressed by xz", "Unpack it (unxz), and name the file that comes out.")),
    (b"7z\xbc\xaf", FileKind("a 7z archive", "Unpack it, and name the file that comes out.")),
    (b"%PDF", FileKind("a PDF", "Rows need a table: csv, jsonl or a workbook.")),
    (b"SQLite format 3", FileKind("an SQLite database", "Write the table out as csv or jsonl.")),
    (b"version https://git-lfs", FileKind("a pointer of git LFS, not the file itself", "Run `git lfs pull`.")),
)
INSIDE = (
    ("xl/workbook.bin", _readable("an Excel workbook", ".xlsb")),
    ("xl/", _readable("an Excel workbook", ".xlsx")),
    ("content.xml", _readable("an OpenDocument spreadsheet", ".ods")),
    ("word/", FileKind("a Word document", "Rows need a table: csv, jsonl or a workbook.")),
    ("", FileKind("a zip archive", "Unpack it, and name the file that comes out.")),
)
_PAGE = re.compile(rb"\s*(?:<\?xml[^>]*>\s*)?<(?:!doctype html|html|head|table|meta)\b", re.IGNORECASE)
PAGE = FileKind(
    "an HTML page", "If it is a table, open it in a spreadsheet and save it as csv; otherwise download the file again."
)
WORKBOOKS = frozenset({".xlsx", ".xlsm", ".xlsb", ".xls", ".ods"})


def detect(path: Path) -> FileKind | None:
    """The kind by the first bytes; None for text and unknown kinds."""
    with path.open("rb") as file:
        head = file.read(512)
    if head.startswith(ZIP):
        return _zipped(path)
    for start, content in STARTS:
        if head.startswith(start):
            return content
    return PAGE if _PAGE.match(head.removeprefix(b"\xef\xbb\xbf")) else None


def _zipped(path: Path) -> FileKind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return FileKind("a truncated zip archive or workbook", "Get it again.")
    return next(content for name, content in INSIDE if not name or any(one.startswith(name) for one in names))


def check_kind(path: Path, label: str, ending: str) -> None:
    """DataError if a file with this extension is clearly of another kind."""
    found = detect(path)
    if found is None and ending in WORKBOOKS:
        raise DataError(
            f"the file ends in {ending} but is text, or damaged.",
            where=label,
            remedy="If it is text, rename it to end in .csv; otherwise save the workbook again.",
        )
    if found is None or found.ending == ending or (ending in WORKBOOKS and found.ending in WORKBOOKS):
        return
    raise DataError(f"the file ends in {ending}, but its content is {found.what}.", where=label, remedy=found.remedy)
