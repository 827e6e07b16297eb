"""MathML as text on one line: "x^2", "(a+b)/2", "√(x)". https://www.w3.org/TR/mathml-core/"""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement

from rung.retrieve.formats.scripts import grouped

DEEPEST = 60
_SILENT = {"annotation", "annotation-xml", "none", "mprescripts"}


class Formula:
    """Collects the tags and texts of one `math` element."""

    def __init__(self) -> None:
        self._open = [Element("math")]

    def start(self, tag: str) -> None:
        if len(self._open) < DEEPEST:
            self._open.append(SubElement(self._open[-1], tag))

    def end(self, tag: str) -> None:
        tags = [node.tag for node in self._open]
        if tag in tags[1:]:
            del self._open[len(tags) - 1 - tags[::-1].index(tag) :]

    def data(self, text: str) -> None:
        node = self._open[-1]
        node.text = (node.text or "") + text

    def text(self) -> str:
        """The formula on one line."""
        return " ".join(linear(self._open[0]).split())


def linear(node: Element) -> str:
    """One element of presentation markup and all in it."""
    if node.tag in _SILENT:
        return ""
    inner = [linear(child) for child in node]
    whole = (node.text or "").strip() + "".join(inner)
    if len(inner) >= 2:
        base, second, third = inner[0], grouped(inner[1]), grouped(inner[2]) if len(inner) > 2 else ""
        if node.tag == "mfrac":
            return f"{grouped(base)}/{second}"
        if node.tag in ("msup", "mover"):
            return f"{_base(base)}^{second}" if node.tag == "msup" or len(inner[1]) > 1 else base + inner[1]
        if node.tag in ("msub", "munder"):
            return f"{_base(base)}_{second}"
        if node.tag in ("msubsup", "munderover"):
            return f"{_base(base)}_{second}^{third}"
        if node.tag == "mroot":
            return f"root({inner[1]}, {base})"
        if node.tag == "mtr":
            return ", ".join(inner)
        if node.tag == "mtable":
            return f"[{'; '.join(inner)}]"
    return f"√({whole})" if node.tag == "msqrt" else whole


def _base(text: str) -> str:
    return text if len(text) == 1 else grouped(text)
