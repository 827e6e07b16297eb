"""A file's bytes and its text, read with a cap: what is no plain file, too large, binary or in another encoding is refused."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from pathlib import Path

from rung.data.text import likely_encoding
from rung.errors import DataError
from rung.retrieve.formats.blocks import clean

LARGEST_FILE = 64 * 1024 * 1024
"""Bytes. A document of words stays far below; a dump of a database does not."""
LONGEST_LINE = 2_000_000
"""Characters, in a text format. Room for an embedded picture, not for a file without lines."""

_MAGIC = {
    b"%PDF": "a PDF",
    b"PK\x03\x04": "a zip archive (docx, xlsx, odt, ...)",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"GIF8": "a GIF picture",
    b"\x1f\x8b": "a gzip archive",
    b"\x7fELF": "a program",
    b"SQLite format 3": "an SQLite database",
}
_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}

_CHARSET = re.compile(rb"(?:charset|encoding)\s*=\s*[\"']?\s*([\w.:-]{2,40})", re.IGNORECASE)
_ENCODINGS = re.compile(
    r"iso-?8859-?\d+|latin-?[1-9]|us-ascii|ascii|windows-\d+|cp\d+|koi8-[ru]|gb2312|gbk|gb18030|big5(-hkscs)?|euc-(jp|kr)|shift[_-]jis|"
    r"x-sjis|iso-2022-jp|macintosh|ibm866"
)
_WIDER = {
    **dict.fromkeys(("iso-8859-1", "iso8859-1", "latin1", "latin-1", "us-ascii", "ascii"), "cp1252"),
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "iso-8859-9": "cp1254",
    "shift_jis": "cp932",
    "shift-jis": "cp932",
    "x-sjis": "cp932",
    "euc-kr": "cp949",
    "macintosh": "mac-roman",
    "big5": "big5hkscs",
}
"""What browsers read under these names. https://encoding.spec.whatwg.org"""


def read_bytes(path: Path, root: Path | None = None) -> bytes:
    """All of a plain file, never more than LARGEST_FILE. Raises DataError, also where the system refuses.

    Below `root` no link is followed, however late it was put there: each folder on the way is opened from the one above it.
    Without, or for a file outside, the file itself must be none.
    """
    try:
        data = _read(path, root)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENOTDIR):
            raise DataError("it is, or lies behind, a link, which is not followed.", remedy="Put a copy in its place.") from None
        raise DataError(f"it cannot be read: {error.strerror or error}.", remedy="Check its permissions.") from None
    if len(data) > LARGEST_FILE:  # it grew, or its size was a lie
        raise _too_large(len(data))
    if not data:
        raise DataError("it is empty.")
    return data


def content(path: Path, root: Path | None = None) -> tuple[str, int]:
    """SHA-256 of a file's bytes, in hex, and how many they are; of a file that cannot be read, the reason and 0."""
    try:
        data = read_bytes(path, root)
    except DataError as error:
        return error.what, 0
    return hashlib.sha256(data).hexdigest(), len(data)


def _read(path: Path, root: Path | None) -> bytes:
    with os.fdopen(_opened(path, root), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise DataError("it is no plain file (a folder, device, pipe or socket).")
        if found.st_size > LARGEST_FILE:
            raise _too_large(found.st_size)
        return file.read(LARGEST_FILE + 1)


def _opened(path: Path, root: Path | None) -> int:
    """A descriptor of the file. Opening a pipe does not wait for a writer."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    flags |= getattr(os, "O_NOFOLLOW", 0)
    below = Path(os.path.relpath(path, root)).parts if root else ("..",)
    if ".." in below or os.open not in os.supports_dir_fd:  # Windows has no such way of opening
        return os.open(path, flags)
    here = os.open(root or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in below[:-1]:
            inside = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
            os.close(here)
            here = inside
        return os.open(below[-1], flags, dir_fd=here)
    finally:
        os.close(here)


def _too_large(size: int) -> DataError:
    return DataError(
        f"it has {size:,} bytes, and {LARGEST_FILE:,} is the most that is read.",
        remedy="Split it into files by subject, or leave it out.",
    )


def read_text(data: bytes, declares: bool = False) -> str:
    """UTF-8, or UTF-16 with its mark, cleaned, with newlines as line ends. Raises DataError that names the byte.

    `declares`: whether files of the format name their encoding themselves, as HTML does; then what is no UTF-8 is read by it.
    """
    for magic, what in _MAGIC.items():
        if data.startswith(magic):
            raise DataError(f"it is {what} under another name.", remedy="Give it its own ending.")
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")
    if encoding != "utf-16" and (place := data.find(b"\0")) >= 0:
        raise _binary(data, place)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        said = _declared(data) if declares else None
        if said is None:
            raise _wrong_encoding(data, error) from None
        text = said
    text = clean(text)
    sizes = [len(line) for line in text.split("\n")]
    if max(sizes) > LONGEST_LINE:
        raise DataError(
            f"line {sizes.index(max(sizes)) + 1} has {max(sizes):,} characters, and {LONGEST_LINE:,} is the most that is read.",
            remedy="Break it into lines, or leave the file out.",
        )
    return text


def _declared(data: bytes) -> str | None:
    """The text by the encoding that its head names, as browsers take it; None where it names none or does not hold to it."""
    found = _CHARSET.search(data[:4096])
    name = found[1].decode("ascii").lower() if found else ""
    if not _ENCODINGS.fullmatch(name):
        return None
    try:
        return data.decode(_WIDER.get(name, name))
    except (LookupError, UnicodeDecodeError):
        return None


def _binary(data: bytes, place: int) -> DataError:
    for name, odd in (("UTF-16LE", data[1:200:2]), ("UTF-16BE", data[:200:2])):
        if odd.count(0) > 0.7 * len(odd):
            return DataError(
                f"byte {place} is NUL; this looks like {name} without the mark in front that says so.",
                remedy=f"Save it as UTF-8, or run: iconv -f {name} -t UTF-8",
            )
    return DataError(f"byte {place} is NUL: it is no text.", remedy="Give it its own ending, or leave it out.")


def _wrong_encoding(data: bytes, error: UnicodeDecodeError) -> DataError:
    if error.encoding.startswith("utf-16"):
        return DataError(f"byte {error.start} is no UTF-16, which its first two bytes announce.", remedy="Save it as UTF-8.")
    start = data.rfind(b"\n", 0, error.start) + 1
    end = data.find(b"\n", error.start)
    line = data[start : end if end >= 0 else len(data)]
    number, name = data.count(b"\n", 0, start) + 1, likely_encoding(line)
    return DataError(
        f"byte {error.start}, {data[error.start : error.start + 1]!r} in line {number}, is not UTF-8; this looks like {name}.",
        remedy=f"Save it as UTF-8, or run: iconv -f {name} -t UTF-8",
    )
