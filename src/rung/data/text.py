"""Text files as lines: UTF-8, or what a byte-order mark says; anything else is refused with the line and the command."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from pathlib import Path

from rung.errors import DataError

MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte-order marks, the longer first: that of UTF-32 begins with that of UTF-16."""


def encoding(path: Path) -> str:
    """What a file's first bytes say; without a mark it must be UTF-8."""
    with path.open("rb") as file:
        head = file.read(4)
    return next((name for mark, name in MARKS if head.startswith(mark)), "utf-8-sig")


def lines(path: Path, label: str) -> Iterator[str]:
    """The lines of a text file with their ends. DataError with the line for another encoding or a NUL byte."""
    name = encoding(path)
    try:
        with path.open(encoding=name, newline="") as file:
            for number, line in enumerate(file, 1):
                if "\0" in line:
                    raise DataError(
                        f"there is a NUL byte at character {line.index(chr(0)) + 1}.",
                        where=f"{label} line {number}",
                        remedy=f"The file is damaged or in UTF-16. Try: {_iconv('UTF-16LE', label)}",
                    )
                yield line
    except UnicodeDecodeError as error:
        if name != "utf-8-sig":
            raise DataError(
                f"the file begins as {name.upper()} and does not go on so ({error.reason}).",
                where=label,
                remedy="It is damaged or cut off, or files of two encodings were put together; save it anew as UTF-8.",
            ) from None
        raise _wrong_encoding(path, label) from None


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
    """Lone high bytes are accents in Western text; runs of them are another script."""
    if max(map(len, re.findall(rb"[\x80-\xff]+", line))) == 1:
        return "WINDOWS-1252"
    for name in ("GB18030", "SHIFT_JIS", "WINDOWS-1251"):
        try:
            line.decode(name)
        except UnicodeDecodeError:
            continue
        return name
    return "WINDOWS-1252"
