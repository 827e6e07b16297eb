"""EPUB books: the chapters in the order of the spine, each read as HTML. https://www.w3.org/TR/epub-33/"""

from __future__ import annotations

import posixpath
from urllib.parse import unquote

from rung.errors import DataError
from rung.retrieve.formats.archive import open_zip
from rung.retrieve.formats.blocks import Blocks
from rung.retrieve.formats.html import read_html
from rung.retrieve.formats.ooxml import parsed
from rung.retrieve.formats.source import read_text


def read_epub(data: bytes) -> Blocks:
    """One document of all chapters. Raises DataError for a bomb, and for a book whose chapters are encrypted."""
    archive = open_zip(data)
    names = set(archive.namelist())
    if "META-INF/container.xml" not in names:
        raise DataError("it is no EPUB: META-INF/container.xml is missing.", remedy="Save it anew.")
    container = parsed(archive.read("META-INF/container.xml"), "META-INF/container.xml", {})
    place = next((node.get("full-path", "") for node in container.iter("rootfile")), "")
    if place not in names:
        raise DataError(f"its table of contents {place!r} is missing.", remedy="Save it anew.")
    book = parsed(archive.read(place), place, {})
    files = {item.get("id", ""): item.get("href", "") for item in book.iter("item")}
    blocks, locked = (
        Blocks(),
        _encrypted(archive.read("META-INF/encryption.xml")) if "META-INF/encryption.xml" in names else set(),
    )
    for entry in book.iter("itemref"):
        name = posixpath.normpath(posixpath.join(posixpath.dirname(place), unquote(files.get(entry.get("idref", ""), ""))))
        if name in locked:
            raise DataError("its chapters are encrypted (DRM).", remedy="Leave it out.")
        if name in names and entry.get("linear", "yes") != "no":
            blocks.leave([])
            blocks.extend(read_html(read_text(archive.read(name), declares=True)).done())
    return blocks


def _encrypted(data: bytes) -> set[str]:
    return {unquote(node.get("URI", "")) for node in parsed(data, "META-INF/encryption.xml", {}).iter("CipherReference")}
