"""Word documents: paragraphs under their headings, tables as rows. https://python-docx.readthedocs.io"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from typing import Any

from rung.errors import DataError
from rung.retrieve.formats.blocks import Blocks

MOST_UNPACKED = 200_000_000
"""Bytes of all members together."""
MOST_MEMBERS = 10_000
STEEPEST = 200
"""Unpacked over packed bytes, for members above MEMBER_CHECKED. Word's own XML shrinks twenty- to sixtyfold."""
MEMBER_CHECKED = 5_000_000

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
"""A second copy of a text box, for readers older than 2010."""
_BREAKS = {f"{_W}tab": "\t", f"{_W}br": "\n", f"{_W}cr": "\n"}


def read_docx(data: bytes) -> Blocks:
    """Text as it stands with tracked changes accepted; headers, footers and footnotes are left out.

    Raises DataError for a bomb, and where python-docx is not installed.
    """
    _check_zip(data)
    try:
        import docx
    except ImportError:
        raise DataError("python-docx is not installed.", remedy="Run: pip install 'rung[docs]'") from None
    document = docx.Document(io.BytesIO(data))
    blocks = Blocks()
    names = {style.style_id: style.name or "" for style in document.styles}
    for node in _parts(document.element.body):
        if node.tag == f"{_W}tbl":
            blocks.add("\n".join(_rows(node)), kind="table")
            continue
        style = names.get(node.style or "", "")
        if level := re.fullmatch(r"(?i)heading ([1-9])|(title)", style):
            blocks.heading(int(level[1] or 0), _text(node))
        else:
            bullet = "- " if node.find(f"{_W}pPr/{_W}numPr") is not None or style.startswith("List") else ""
            blocks.add(bullet + _text(node) if _text(node).strip() else "")
    return blocks


def _check_zip(data: bytes) -> None:
    """Sizes as the archive declares them, then as they come out: the declared ones may be lies."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        if len(members) > MOST_MEMBERS or sum(member.file_size for member in members) > MOST_UNPACKED:
            raise _bomb(f"{len(members):,} members of {sum(member.file_size for member in members):,} bytes")
        total = 0
        for member in members:
            size = 0
            with archive.open(member) as file:
                while piece := file.read(1 << 20):
                    size += len(piece)
                    if total + size > MOST_UNPACKED or size > max(MEMBER_CHECKED, STEEPEST * member.compress_size):
                        raise _bomb(f"{member.filename!r} alone swells from {member.compress_size:,} to over {size:,} bytes")
            total += size


def _bomb(what: str) -> DataError:
    return DataError(f"it is a zip bomb: {what}.", remedy="Leave it out.")


def _parts(node: Any) -> Iterator[Any]:
    """Paragraphs and tables in order, those inside content controls too, which python-docx passes over."""
    for child in node:
        if child.tag in (f"{_W}p", f"{_W}tbl"):
            yield child
        elif child.tag in (f"{_W}sdt", f"{_W}sdtContent", f"{_W}ins", f"{_W}customXml"):
            yield from _parts(child)


def _text(node: Any) -> str:
    found = []
    for part in node.iter(f"{_W}t", *_BREAKS):
        if not any(above.tag == _FALLBACK for above in part.iterancestors()):
            found.append(_BREAKS.get(part.tag) or part.text or "")
    return "".join(found)


def _rows(table: Any) -> Iterator[str]:
    for row in table.iter(f"{_W}tr"):
        cells = [" ".join(" ".join(_text(p) for p in cell.iter(f"{_W}p")).split()) for cell in row.iterchildren(f"{_W}tc")]
        yield " | ".join(cells)
