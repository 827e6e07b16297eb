"""The text of a paragraph of Word as it is seen: changes accepted, hidden text and field codes out, symbols and equations in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from xml.etree.ElementTree import Element

from rung.retrieve.formats.docx_styles import Styles, style_of, switched
from rung.retrieve.formats.omml import equation
from rung.retrieve.formats.scripts import lowered, raised
from rung.retrieve.formats.symbols import in_font, symbol

_CHARACTERS = {
    "w-tab": "\t",
    "w-ptab": "\t",
    "w-br": "\n",
    "w-cr": "\n",
    "w-noBreakHyphen": "-",
    "w-softHyphen": "",
}
_SILENT = {
    *("w-del", "w-moveFrom", "w-pPr", "w-rPr", "w-delText", "w-instrText", "w-delInstrText", "w-sdtPr", "w-sdtEndPr"),
    *("w-rt", "w-tbl", "w-p", "w-annotationRef", "w-footnoteRef", "w-endnoteRef", "m-oMathParaPr", "w-rubyPr"),
}
BLOCKS = {"w-txbxContent"}


@dataclass(frozen=True, slots=True)
class _Piece:
    text: str
    place: str = ""
    """superscript, subscript or nothing."""
    struck: bool = False


class Texts:
    """Reads paragraphs; boxes and notes that hang on them are put aside for who asks."""

    def __init__(self, styles: Styles) -> None:
        self.styles = styles
        self.boxes: list[Element] = []
        """Text boxes anchored in what was read."""
        self.diagrams: list[str] = []
        """Relations to the parts that hold a drawing's text."""
        self.notes: list[tuple[str, str, int]] = []
        """Notes called: footnote or endnote, id, and the number that they are shown with."""
        self._called = 0
        self._fields: list[bool] = []
        """Of each open field, whether its result has begun."""
        self._style = ""

    def paragraph(self, node: Element) -> str:
        """Its text on one or more lines."""
        self._style = style_of(node)
        pieces = list(self._pieces(node))
        self._fields = [True for _ in self._fields]  # a field's code ends with its paragraph at the latest
        text = ""
        for (place, struck), group in groupby(pieces, key=lambda piece: (piece.place, piece.struck)):
            part = "".join(piece.text for piece in group)
            if place:
                part = raised(text, part) if place == "superscript" else lowered(text, part)
            text += f"~~{part}~~" if struck and part.strip() else part
        return text

    def _pieces(self, node: Element) -> Iterator[_Piece]:
        for child in node:
            if child.tag == "w-r":
                yield from self._run(child)
            elif child.tag == "m-oMath":
                yield _Piece(equation(child))
            elif child.tag == "mc-AlternateContent":
                yield from self._pieces(alternative(child))
            elif child.tag == "w-fldSimple" or child.tag not in _SILENT:
                yield from self._pieces(child)

    def _run(self, run: Element) -> Iterator[_Piece]:
        properties = run.find("w-rPr")
        text = "".join(self._inside(run))
        if not text or self.styles.hidden(properties, self._style) or not all(self._fields):
            return
        if properties is None:
            yield _Piece(text)
            return
        fonts, align = properties.find("w-rFonts"), properties.find("w-vertAlign")
        if fonts is not None:
            text = in_font(fonts.get("ascii", "") or fonts.get("hAnsi", ""), text)
        place = "" if align is None else align.get("val", "")
        struck = bool(switched(properties, "w-strike") or switched(properties, "w-dstrike"))
        yield _Piece(text, place if place in ("superscript", "subscript") else "", struck)

    def _inside(self, node: Element) -> Iterator[str]:
        for child in node:
            if child.tag == "w-t":
                yield child.text or ""
            elif child.tag in _CHARACTERS:
                yield _CHARACTERS[child.tag]
            elif child.tag == "w-sym":
                yield symbol(child.get("font", ""), _code(child.get("char", "")))
            elif child.tag == "w-fldChar":
                yield self._field(child)
            elif child.tag in ("w-footnoteReference", "w-endnoteReference"):
                yield self._note(child)
            elif child.tag == "w-ruby":
                yield from self._ruby(child)
            elif child.tag == "mc-AlternateContent":
                yield from self._inside(alternative(child))
            elif child.tag in BLOCKS:
                self.boxes.append(child)
            elif child.tag == "dgm-relIds":
                self.diagrams.append(child.get("r-dm", ""))
            elif child.tag not in _SILENT:
                yield from self._inside(child)

    def _field(self, mark: Element) -> str:
        kind = mark.get("fldCharType")
        if kind == "begin":
            form = _form(mark)
            self._fields.append(bool(form))
            return form
        if kind == "separate" and self._fields:
            self._fields[-1] = True
        elif kind == "end" and self._fields:
            self._fields.pop()
        return ""

    def _note(self, reference: Element) -> str:
        self._called += 1
        self.notes.append((reference.tag[2:-9], reference.get("id", ""), self._called))
        return f"[{self._called}]"

    def _ruby(self, node: Element) -> Iterator[str]:
        base, above = node.find("w-rubyBase"), node.find("w-rt")
        yield "" if base is None else "".join(piece.text for piece in self._pieces(base))
        reading = "" if above is None else "".join(piece.text for piece in self._pieces(above))
        yield f"({reading})" if reading.strip() else ""


def alternative(node: Element) -> Element:
    """The one of several forms of the same content that is shown: the first choice, which any Word since 2010 knows."""
    for name in ("mc-Choice", "mc-Fallback"):
        found = node.find(name)
        if found is not None:
            return found
    return Element("nothing")


def _code(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        return 0


def _form(mark: Element) -> str:
    """What an old form field shows: a box that is ticked or not, the chosen entry of a list."""
    box, choice = mark.find("w-ffData/w-checkBox"), mark.find("w-ffData/w-ddList")
    if box is not None:
        ticked = switched(box, "w-checked")
        return "☒ " if (switched(box, "w-default") if ticked is None else ticked) else "☐ "
    if choice is not None:
        entries, result = choice.findall("w-listEntry"), choice.find("w-result")
        number = _code(result.get("val", "0")) if result is not None else 0
        return entries[number].get("val", "") if number < len(entries) else ""
    return ""
