"""PowerPoint: slides under their titles, with tables, equations and the speaker's notes. ECMA-376, part 1, chapter 19."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from rung.errors import DataError
from rung.retrieve.formats.blocks import Blocks
from rung.retrieve.formats.docx_text import alternative
from rung.retrieve.formats.grid import Cell, lines
from rung.retrieve.formats.omml import equation
from rung.retrieve.formats.ooxml import Package
from rung.retrieve.formats.scripts import lowered, raised

_MARGINS = {"sldNum", "dt", "ftr", "hdr", "sldImg"}
"""Placeholders that say the same on every slide."""


def read_pptx(data: bytes) -> Blocks:
    """The slides that are shown, counted from 1 as pages. Raises DataError for a bomb, a locked file and another kind of file."""
    package = Package(data)
    root = package.xml(package.main)
    if root is None or root.tag != "p-presentation":
        raise DataError("it is no PowerPoint presentation.", remedy="Save it anew as .pptx.")
    blocks, links = Blocks(), package.relations(package.main)
    for page, entry in enumerate(root.iter("p-sldId"), 1):
        link = links.get(entry.get("r-id", ""))
        slide = package.xml(link.target) if link else None
        if link and slide is not None and slide.get("show", "1") not in ("0", "false"):
            _slide(blocks, package, link.target, slide, page)
    return blocks


def _slide(blocks: Blocks, package: Package, part: str, slide: Element, page: int) -> None:
    shapes = list(_shapes(slide))
    title = next((text for kind, text, _ in shapes if kind in ("title", "ctrTitle") and text.strip()), "")
    blocks.leave([])
    if title:
        blocks.heading(1, title, page=page)
    for kind, text, table in shapes:
        if kind not in ("title", "ctrTitle", *_MARGINS):
            blocks.add(text, page=page, kind="table" if table else "text")
    for link in package.relations(part).values():
        root = package.xml(link.target) if link.kind in ("notesSlide", "diagramData") else None
        if root is not None and link.kind == "notesSlide":
            notes = "\n".join(text for kind, text, _ in _shapes(root) if kind not in _MARGINS and text.strip())
            blocks.add(f"Notes: {notes}" if notes else "", page=page)
        elif root is not None:
            blocks.add(_paragraphs(root), page=page)


def _shapes(node: Element) -> Iterator[tuple[str, str, bool]]:
    """Of each shape in order the kind of its placeholder, its text, and whether it is a table; groups are gone through."""
    for child in node:
        if child.tag == "mc-AlternateContent":
            yield from _shapes(alternative(child))
        elif child.tag == "a-tbl":
            yield "", "\n".join(lines(_rows(child))), True
        elif child.tag == "p-sp":
            shape, hidden = child.find("p-nvSpPr/p-nvPr/p-ph"), child.find("p-nvSpPr/p-cNvPr")
            if hidden is None or hidden.get("hidden", "0") in ("0", "false"):
                body = child.find("p-txBody")
                yield "" if shape is None else shape.get("type", "body"), "" if body is None else _paragraphs(body), False
        else:
            yield from _shapes(child)


def _rows(table: Element) -> Iterator[list[Cell]]:
    """Cells that a merge covers are there in the file, empty; those of a merge over rows are said again."""
    above: dict[int, str] = {}
    for row in table.findall("a-tr"):
        texts = []
        for column, cell in enumerate(row.findall("a-tc")):
            text = " ".join(_paragraphs(cell).split())
            texts.append(above.get(column, "") if cell.get("vMerge") in ("1", "true") else text)
        above = dict(enumerate(texts))
        yield [Cell(text) for text in texts]


def _paragraphs(node: Element) -> str:
    return "\n".join(text for text in map(_paragraph, node.iter("a-p")) if text.strip())


def _paragraph(node: Element) -> str:
    text = ""
    for child in node:
        child = alternative(child) if child.tag == "mc-AlternateContent" else child
        if child.tag in ("a-r", "a-fld"):
            properties = child.find("a-rPr")
            part = child.findtext("a-t", "")
            offset = "0" if properties is None else properties.get("baseline", "0")
            text += part if offset == "0" else lowered(text, part) if offset.startswith("-") else raised(text, part)
        elif child.tag == "a-br":
            text += "\n"
        else:
            text += "".join(map(equation, child.iter("m-oMath")))
    return text
