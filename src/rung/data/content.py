"""What a file is by its first bytes, where its name says otherwise: a workbook named .csv, a page saved as .xls."""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

from rung.errors import DataError


@dataclass(frozen=True, slots=True)
class Content:
    """A kind of file."""

    what: str
    remedy: str
    ending: str = ""
    """The ending under which it can be read; empty where it cannot."""


def _readable(what: str, ending: str) -> Content:
    return Content(what, f"Rename it to end in {ending}, or save it anew in the form that its name says.", ending)


ZIP = b"PK\x03\x04"
STARTS: tuple[tuple[bytes, Content], ...] = (
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", _readable("an old Office file, or one with a password", ".xls")),
    (b"PAR1", _readable("a parquet file", ".parquet")),
    (b"ARROW1", _readable("an arrow file", ".arrow")),
    (b"\x1f\x8b", Content("compressed by gzip", "Unpack it (gunzip), and name the file that comes out.")),
    (b"\x28\xb5\x2f\xfd", Content("compressed by zstd", "Unpack it (unzstd), and name the file that comes out.")),
    (b"BZh", Content("compressed by bzip2", "Unpack it (bunzip2), and name the file that comes out.")),
    (b"\xfd7zXZ", Content("compressed by xz", "Unpack it (unxz), and name the file that comes out.")),
    (b"7z\xbc\xaf", Content("a 7z archive", "Unpack it, and name the file that comes out.")),
    (b"%PDF", Content("a PDF", "Rows need a table: csv, jsonl or a workbook.")),
    (b"SQLite format 3", Content("an SQLite database", "Write the table out as csv or jsonl.")),
    (b"version https://git-lfs", Content("a pointer of git LFS, not the file itself", "Run `git lfs pull`.")),
)
INSIDE = (
    ("xl/workbook.bin", _readable("an Excel workbook", ".xlsb")),
    ("xl/", _readable("an Excel workbook", ".xlsx")),
    ("content.xml", _readable("an OpenDocument spreadsheet", ".ods")),
    ("word/", Content("a Word document", "Rows need a table: csv, jsonl or a workbook.")),
    ("", Content("a zip archive", "Unpack it, and name the file that comes out.")),
)
_PAGE = re.compile(rb"\s*(?:<\?xml[^>]*>\s*)?<(?:!doctype html|html|head|table|meta)\b", re.IGNORECASE)
PAGE = Content("an HTML page", "Where it is a table, open it in a spreadsheet and save it as csv; else download the file anew.")
WORKBOOKS = frozenset({".xlsx", ".xlsm", ".xlsb", ".xls", ".ods"})


def content_of(path: Path) -> Content | None:
    """What the first bytes say; None for text and for what is not known."""
    with path.open("rb") as file:
        head = file.read(512)
    if head.startswith(ZIP):
        return _zipped(path)
    for start, content in STARTS:
        if head.startswith(start):
            return content
    return PAGE if _PAGE.match(head.removeprefix(b"\xef\xbb\xbf")) else None


def _zipped(path: Path) -> Content:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return Content("the beginning of a zip archive or workbook that is cut off", "Get it anew.")
    return next(content for name, content in INSIDE if not name or any(one.startswith(name) for one in names))


def refuse_other(path: Path, label: str, ending: str) -> None:
    """DataError where a file to be read as `ending` is plainly of another kind."""
    found = content_of(path)
    if found is None and ending in WORKBOOKS:
        raise DataError(
            f"the file is text under a name that ends in {ending}, or damaged.",
            where=label,
            remedy="Where it is text, rename it to end in .csv; else save the workbook anew.",
        )
    if found is None or found.ending == ending or (ending in WORKBOOKS and found.ending in WORKBOOKS):
        return
    raise DataError(f"by its content this is {found.what}, under a name that ends in {ending}.", where=label, remedy=found.remedy)
