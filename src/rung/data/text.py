"""Text files as lines: UTF-8, or as a byte-order mark says; other encodings are an error with line and conversion command."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from rung.errors import DataError

MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte-order marks, longest first, because UTF-32's starts with UTF-16's."""


COMPRESSED = {".gz": "gzip", ".zst": "zstd"}
"""Endings of compressed files that are read as text."""
BLOCK = 1 << 16
"""Bytes read at once to find the end of a line."""
Part = tuple[int, int]
"""First byte of a part of a file, and one past its last; each is moved on to the next line's start."""


def encoding(path: Path) -> str:
    """Encoding by byte-order mark; UTF-8 without one."""
    with _opened(path, None) as file:
        head = file.read(4)
    return next((name for mark, name in MARKS if head.startswith(mark)), "utf-8-sig")


def lines(path: Path, label: str, part: Part | None = None) -> Iterator[str]:
    """Lines of a text file, packed or not, or of a `part` of one in UTF-8, with line ends.

    DataError with the line for another encoding or a NUL byte; in a part, lines are counted from its first.
    """
    name = "utf-8"  # a byte-order mark stands only at the beginning
    try:
        if not (part and part[0]):
            name = encoding(path)
        with io.TextIOWrapper(_opened(path, part), encoding=name, newline="") as file:
            for number, line in enumerate(file, 1):
                if "\0" in line:
                    raise DataError(
                        f"there is a NUL byte at character {line.index(chr(0)) + 1}.",
                        where=f"{label} line {number}",
                        remedy=f"The file is damaged or in UTF-16. Try: {_iconv('UTF-16LE', label)}",
                    )
                yield line
    except UnicodeDecodeError as error:
        if name != "utf-8-sig" or path.suffix.lower() in COMPRESSED:
            raise DataError(
                f"the file starts as {name.upper()} but is invalid later ({error.reason}).",
                where=label,
                remedy="It is damaged or truncated, or mixes two encodings; save it again as UTF-8.",
            ) from None
        raise _wrong_encoding(path, label) from None
    except OSError as error:
        if path.suffix.lower() not in COMPRESSED:
            raise
        raise DataError(f"it cannot be unpacked: {error}.", where=label, remedy="It is damaged or truncated.") from None


def _opened(path: Path, part: Part | None) -> BinaryIO:
    kind = COMPRESSED.get(path.suffix.lower())
    if kind is None:
        return io.BufferedReader(_Slice(path, part)) if part else path.open("rb")
    import pyarrow as pa

    stream: Any = pa.CompressedInputStream(pa.OSFile(str(path)), kind)
    return stream


class _Slice(io.RawIOBase):
    """The lines of a file that begin in a part of it."""

    def __init__(self, path: Path, part: Part):
        self.file = path.open("rb", buffering=0)
        begin, end = (self._line_start(at) for at in part)
        self.left = end - begin
        self.file.seek(begin)

    def _line_start(self, at: int) -> int:
        """The first start of a line at this byte or after it."""
        if not at:
            return 0
        self.file.seek(at := at - 1)
        while block := self.file.read(BLOCK):
            found = block.find(b"\n")
            if found >= 0:
                return at + found + 1
            at += len(block)
        return at

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        wanted = memoryview(into)[: self.left]
        found = self.file.readinto(wanted) if len(wanted) else 0
        self.left -= found or 0
        return found or 0

    def close(self) -> None:
        self.file.close()
        super().close()


def _iconv(encoding: str, label: str) -> str:
    path = Path(label)
    return f"iconv -f {encoding} -t UTF-8 '{path}' > '{path.with_suffix('.utf8' + path.suffix)}'"


def _wrong_encoding(path: Path, label: str) -> DataError:
    offset = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                found = likely_encoding(line)
                return DataError(
                    f"byte {offset + error.start} of the file, {line[error.start : error.start + 1]!r}, is not UTF-8;"
                    f" this looks like {found}.",
                    where=f"{label} line {number}",
                    remedy=f"Save it as UTF-8, or run: {_iconv(found, label)}",
                )
            offset += len(line)
    raise AssertionError(f"{path} decodes line by line but not as a whole")


def likely_encoding(line: bytes) -> str:
    """Guess an encoding: single high bytes are Western accents, runs are another script."""
    if max(map(len, re.findall(rb"[\x80-\xff]+", line))) == 1:
        return "WINDOWS-1252"
    for name in ("GB18030", "SHIFT_JIS", "WINDOWS-1251"):
        try:
            line.decode(name)
        except UnicodeDecodeError:
            continue
        return name
    return "WINDOWS-1252"
