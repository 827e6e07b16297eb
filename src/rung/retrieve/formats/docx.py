"""Word documents as Word shows them: paragraphs under their headings, lists with their numbers, tables by column, notes.

The XML is read here rather than by python-docx, whose texts hold moved and hidden words and lack symbols, equations, notes,
text boxes and what stands in content controls. The format: ECMA-376, part 1, chapter 17.
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from rung.errors import DataError
from rung.retrieve.formats.blocks import Blocks
from rung.retrieve.formats.docx_numbers import Numbers
from rung.retrieve.formats.docx_styles import styles, switched
from rung.retrieve.formats.docx_text import Texts, alternative
from rung.retrieve.formats.grid import Cell, lines, nested, repeated
from rung.retrieve.formats.ooxml import Package

_THROUGH = {"w-sdt", "w-sdtContent", "w-customXml", "w-ins", "w-moveTo", "w-smartTag", "mc-AlternateContent"}
"""What is looked through for the blocks, rows or cells in it."""


def read_docx(data: bytes) -> Blocks:
    """Text with tracked changes accepted and hidden text left out; notes behind what calls them, headers and footers once.

    Raises DataError for a bomb, a locked file and one that holds no document.
    """
    package = Package(data)
    root = package.xml(package.main)
    body = None if root is None else root.find("w-body")
    if body is None:
        raise DataError("it is no Word document: it has no body.", remedy="Save it anew as .docx.")
    reader = _Reader(package)
    reader.margins(body, "header")
    reader.blocks_of(body)
    reader.margins(body, "footer")
    return reader.blocks


class _Reader:
    def __init__(self, package: Package) -> None:
        self.blocks = Blocks()
        self.package = package
        self.styles = styles(package.related(package.main, "styles"))
        self.numbers = Numbers(package.related(package.main, "numbering"))
        self.texts = Texts(self.styles)
        self._links = package.relations(package.main)
        self._joined = ""
        """Text of a paragraph whose end is deleted or hidden: the next one goes on from it."""
        self._notes: dict[str, dict[str, Element]] = {}

    def blocks_of(self, node: Element) -> None:
        """Everything that stands in a body, a text box or a note."""
        for child in parts(node, "w-p", "w-tbl"):
            if child.tag == "w-p":
                self._paragraph(child)
            else:
                self._table(child)
            self._aside()
        if self._joined.strip():
            self.blocks.add(self._joined)
        self._joined = ""

    def margins(self, body: Element, kind: str) -> None:
        """Headers or footers, each text once, under no heading."""
        seen: set[str] = set()
        self.blocks.leave([])
        for reference in body.iter(f"w-{kind}Reference"):
            link = self._links.get(reference.get("r-id", ""))
            root = self.package.xml(link.target) if link else None
            text = "" if root is None else self._flat(root).strip()
            if any(char.isalpha() for char in text) and text not in seen:
                seen.add(text)
                self.blocks.add(text)

    def _paragraph(self, node: Element) -> None:
        mark = node.find("w-pPr/w-rPr")
        text = self._joined + self.texts.paragraph(node)
        level = self.styles.level(node)
        gone = mark is not None and any(mark.find(name) is not None for name in ("w-del", "w-moveFrom"))
        if gone or (level is None and switched(mark, "w-vanish")):
            self._joined = text
            return
        self._joined = ""
        if not text.strip():
            return
        text = self._number(node, level) + text
        if level is None:
            self.blocks.add(text)
        else:
            self.blocks.heading(level, text)

    def _number(self, node: Element, level: int | None) -> str:
        listed = self.styles.numbering(node)
        number = self.numbers.next(*listed) if listed else None
        if number is None:
            return "- " if level is None and (listed or self.styles.listed(node)) else ""
        return number

    def _table(self, node: Element) -> None:
        rows = list(self._rows(node))
        if len(rows) == 1 and len(rows[0]) == 1:  # a frame around text
            self.blocks_of(next(parts(next(parts(node, "w-tr")), "w-tc")))
        else:
            self.blocks.add("\n".join(lines(rows)), kind="table")

    def _rows(self, table: Element) -> Iterator[list[Cell]]:
        above: dict[int, str] = {}
        for row in parts(table, "w-tr"):
            properties = row.find("w-trPr")
            if properties is not None and (properties.find("w-del") is not None or switched(properties, "w-hidden")):
                continue
            cells = [Cell("")] * _count(properties, "w-gridBefore", 0)
            column, below = len(cells), {}
            for cell in parts(row, "w-tc"):
                found = cell.find("w-tcPr")
                across, merge = _count(found, "w-gridSpan", 1), None if found is None else found.find("w-vMerge")
                goes_on = merge is not None and merge.get("val", "continue") == "continue"
                text = above.get(column, "") if goes_on else self._flat(cell)
                if merge is not None:
                    below[column] = repeated(" ".join(text.split()))
                if found is None or found.find("w-cellDel") is None:
                    cells.append(Cell(text, across))
                column += across
            above = below
            yield cells

    def _flat(self, node: Element) -> str:
        """What stands in a cell, header or footer, on lines of its own; boxes in it too."""
        found = []
        for child in parts(node, "w-p", "w-tbl"):
            if child.tag == "w-tbl":
                found.append(nested(lines(self._rows(child))))
            else:
                text = self.texts.paragraph(child)
                boxes, self.texts.boxes = self.texts.boxes, []
                found += [self._number(child, 0) + text if text.strip() else "", *map(self._flat, boxes)]
        return "\n".join(text for text in found if text.strip())

    def _aside(self) -> None:
        """Boxes, diagrams and notes that hang on what was just read."""
        while self.texts.boxes or self.texts.diagrams or self.texts.notes:
            boxes, diagrams, notes = self.texts.boxes, self.texts.diagrams, self.texts.notes
            self.texts.boxes, self.texts.diagrams, self.texts.notes = [], [], []
            for box in boxes:
                self.blocks_of(box)
            for diagram in diagrams:
                link = self._links.get(diagram)
                root = self.package.xml(link.target) if link else None
                self.blocks.add("\n".join(_drawn(root)))
            for kind, name, number in notes:
                note = self._note(kind, name)
                text = "" if note is None else self._flat(note)
                self.blocks.add(f"[{number}] {text.strip()}" if text.strip() else "")

    def _note(self, kind: str, name: str) -> Element | None:
        if kind not in self._notes:
            root = self.package.related(self.package.main, f"{kind}s")
            self._notes[kind] = {} if root is None else {note.get("id", ""): note for note in root}
        return self._notes[kind].get(name)


def parts(node: Element, *tags: str) -> Iterator[Element]:
    """The children of these kinds in order, those within content controls, insertions and other wrappers too."""
    for child in node:
        if child.tag in tags:
            yield child
        elif child.tag == "mc-AlternateContent":
            yield from parts(alternative(child), *tags)
        elif child.tag in _THROUGH:
            yield from parts(child, *tags)


def _drawn(root: Element | None) -> Iterator[str]:
    """The paragraphs of a diagram."""
    for paragraph in () if root is None else root.iter("a-p"):
        yield "".join(text.text or "" for text in paragraph.iter("a-t"))


def _count(properties: Element | None, name: str, default: int) -> int:
    found = None if properties is None else properties.find(name)
    value = "" if found is None else found.get("val", "")
    return min(int(value), 200) if value.isdecimal() and len(value) < 10 else default
