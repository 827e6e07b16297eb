"""OpenDocument texts and presentations: headings, paragraphs, lists, tables by column, notes. OASIS OpenDocument 1.3, part 3."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from rung.errors import DataError
from rung.retrieve.formats.archive import open_zip
from rung.retrieve.formats.blocks import Blocks
from rung.retrieve.formats.grid import Cell, lines, nested, repeated
from rung.retrieve.formats.ooxml import parsed
from rung.retrieve.formats.scripts import lowered, raised

_URN = "urn:oasis:names:tc:opendocument:xmlns:"
_PREFIXES = {f"{_URN}{name}:1.0": name for name in ("text", "table", "office", "style", "drawing", "presentation")}
_SILENT = {
    *("text-tracked-changes", "text-hidden-text", "text-hidden-paragraph", "office-annotation", "office-annotation-end"),
    *("text-ruby-text", "text-note-body", "text-sequence-decls", "office-forms", "presentation-notes", "text-note-citation"),
}
_CHARACTERS = {"text-tab": "\t", "text-line-break": "\n", "text-soft-page-break": ""}
_BLOCKS = {"text-p", "text-h", "text-list", "table-table", "drawing-text-box"}


def read_odf(data: bytes) -> Blocks:
    """Tracked changes accepted, hidden text left out. Raises DataError for a bomb, and for an encrypted or other file."""
    archive = open_zip(data)
    if "content.xml" not in archive.namelist():
        raise DataError("it is no OpenDocument file: content.xml is missing.", remedy="Save it anew.")
    if b"encryption-data" in (archive.read("META-INF/manifest.xml") if "META-INF/manifest.xml" in archive.namelist() else b""):
        raise DataError("it is locked with a password.", remedy="Save it without one.")
    root = parsed(archive.read("content.xml"), "content.xml", _PREFIXES)
    reader = _Reader(root)
    body = root.find("office-body")
    reader.read(Element("none") if body is None else body)
    return reader.blocks


class _Reader:
    def __init__(self, root: Element) -> None:
        self.blocks = Blocks()
        self.places: dict[str, str] = {}
        """Styles of raised, lowered and hidden text, by name."""
        for style in root.iter("style-style"):
            for properties in style.iter("style-text-properties"):
                position = properties.get("text-position", "").split(" ")[0]
                hidden = "hidden" if properties.get("display") == "none" else ""
                self.places[style.get("name", "")] = hidden or position
        self.notes: list[str] = []

    def read(self, node: Element, bullet: str = "") -> None:
        """Blocks in order; what only wraps them is gone through."""
        for child in node:
            if child.tag == "text-h":
                level = child.get("outline-level", "1")
                self.blocks.heading(int(level) if level.isdecimal() and len(level) < 3 else 1, self._text(child))
            elif child.tag == "text-p":
                text = self._text(child)
                self.blocks.add(bullet + text if text.strip() else "")
                for frame in child.iter("drawing-text-box"):
                    self.read(frame)
            elif child.tag == "text-list":
                for item in child:
                    self.read(item, "- ")
            elif child.tag == "table-table":
                self.blocks.add("\n".join(lines(self._rows(child))), kind="table")
            elif child.tag not in _SILENT:
                self.read(child, bullet)
            while self.notes:
                self.blocks.add(self.notes.pop(0))

    def _text(self, node: Element) -> str:
        text = node.text or ""
        for child in node:
            if child.tag == "text-s":
                text += " " * _count(child, "c", 1)
            elif child.tag in _CHARACTERS:
                text += _CHARACTERS[child.tag]
            elif child.tag == "text-note":
                text += self._note(child)
            elif child.tag not in _SILENT and child.tag not in _BLOCKS:
                text += self._placed(text, child)
            text += child.tail or ""
        return text

    def _placed(self, before: str, node: Element) -> str:
        inner, place = self._text(node), self.places.get(node.get("style-name", ""), "")
        if place == "hidden":
            return ""
        if place.startswith("super") or (place.rstrip("%").isdecimal() and place != "0%"):
            return raised(before, inner)
        return lowered(before, inner) if place.startswith(("sub", "-")) else inner

    def _note(self, note: Element) -> str:
        mark, body = note.findtext("text-note-citation", "*"), note.find("text-note-body")
        if body is not None:
            self.notes.append(f"[{mark}] {self._flat(body)}")
        return f"[{mark}]"

    def _flat(self, node: Element) -> str:
        found = []
        for child in node:
            if child.tag in ("text-p", "text-h"):
                found += [self._text(child), *map(self._flat, child.iter("drawing-text-box"))]
            elif child.tag == "table-table":
                found.append(nested(lines(self._rows(child))))
            elif child.tag not in _SILENT:
                found.append(self._flat(child))
        return " ".join(text for text in found if text.strip())

    def _rows(self, table: Element) -> Iterator[list[Cell]]:
        """What a merge covers is there in the file; below its first row the text is said again."""
        above: dict[int, tuple[str, int]] = {}
        for row in _through(table, "table-table-row"):
            texts: list[str] = []
            for cell in row:
                column, times = len(texts), min(_count(cell, "number-columns-repeated", 1), 200)
                if cell.tag == "table-covered-table-cell":
                    text, left = above.pop(column, ("", 0))
                    texts += [text, *[""] * (times - 1)]
                elif cell.tag == "table-table-cell":
                    text, left = self._flat(cell), _count(cell, "number-rows-spanned", 1)
                    texts += [text] * times
                else:
                    continue
                if left > 1:
                    above[column] = (repeated(text), left - 1)
            yield [Cell(text) for text in texts]


def _through(node: Element, tag: str) -> Iterator[Element]:
    for child in node:
        if child.tag == tag:
            yield child
        elif child.tag in ("table-table-header-rows", "table-table-rows", "table-table-row-group"):
            yield from _through(child, tag)


def _count(node: Element, name: str, default: int) -> int:
    value = node.get(name, "")
    return min(int(value), 1000) if value.isdecimal() and len(value) < 10 else default
