"""Text files as lines: UTF-8, or as a byte-order mark says; other encodings are an error with line and conversion command."""

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
"""Byte-order marks, longest first, because UTF-32's starts with UTF-16's."""


def encoding(path: Path) -> str:
    """Encoding by byte-order mark; UTF-8 without one."""
    with path.open("rb") as file:
        head = file.read(4)
    return next((name for mark, name in MARKS if head.startswith(mark)), "utf-8-sig")


def lines(path: Path, label: str) -> Iterator[str]:
    """Lines of a text file with line ends. DataError with the line for another encoding or a NUL byte."""
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
                f"the file starts as {name.upper()} but is invalid later ({error.reason}).",
                where=label,
                remedy="It is damaged or truncated, or mixes two encodings; save it again as UTF-8.",
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
