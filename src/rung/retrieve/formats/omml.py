"""Equations of Word as text on one line: "x^2", "(a+b)/2", "√(x)", "∑_(i=1)^n(i)". ECMA-376, part 1, chapter 22."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree.ElementTree import Element

from rung.retrieve.formats.scripts import grouped

_SILENT = {"w-del", "w-moveFrom", "w-rPr", "m-ctrlPr"}


def equation(node: Element) -> str:
    """An equation, or a part of one. Properties are left out, and what tracked changes have deleted."""
    if node.tag in _SILENT or node.tag.endswith("Pr"):
        return ""
    if node.tag in ("m-t", "w-t"):
        return node.text or ""
    return _FORMS.get(node.tag, _plain)(node)


def _plain(node: Element) -> str:
    return "".join(map(equation, node))


def _arg(node: Element, name: str) -> str:
    found = node.find(f"m-{name}")
    return "" if found is None else _plain(found).strip()


def _set(node: Element, properties: str, name: str, default: str) -> str:
    found = node.find(f"m-{properties}/m-{name}")
    return default if found is None else found.get("val", default)


def _script(node: Element, name: str, mark: str) -> str:
    inner = _arg(node, name)
    return mark + grouped(inner) if inner else ""


def _fraction(node: Element) -> str:
    top, bottom = grouped(_arg(node, "num")), grouped(_arg(node, "den"))
    return f"{top}, {bottom}" if _set(node, "fPr", "type", "bar") == "noBar" else f"{top}/{bottom}"


def _scripts(node: Element) -> str:
    return grouped(_arg(node, "e")) + _script(node, "sub", "_") + _script(node, "sup", "^")


def _before(node: Element) -> str:
    return _script(node, "sub", "_") + _script(node, "sup", "^") + _arg(node, "e")


def _root(node: Element) -> str:
    degree = _arg(node, "deg")
    return f"√({_arg(node, 'e')})" if not degree else f"root({degree}, {_arg(node, 'e')})"


def _nary(node: Element) -> str:
    return _set(node, "naryPr", "chr", "∫") + _script(node, "sub", "_") + _script(node, "sup", "^") + f"({_arg(node, 'e')})"


def _delimited(node: Element) -> str:
    inner = _set(node, "dPr", "sepChr", "|").join(_plain(part).strip() for part in node.findall("m-e"))
    return _set(node, "dPr", "begChr", "(") + inner + _set(node, "dPr", "endChr", ")")


def _function(node: Element) -> str:
    inner = _arg(node, "e")
    return f"{_arg(node, 'fName')}{inner if inner.startswith('(') else f'({inner})'}"


def _low(node: Element) -> str:
    return _arg(node, "e") + _script(node, "lim", "_")


def _high(node: Element) -> str:
    return _arg(node, "e") + _script(node, "lim", "^")


def _accent(node: Element) -> str:
    return _arg(node, "e") + _set(node, "accPr", "chr", "\u0302")


def _rows(node: Element) -> str:
    return "; ".join(_plain(row).strip() for row in node.findall("m-e"))


def _matrix(node: Element) -> str:
    rows = (", ".join(_plain(cell).strip() for cell in row.findall("m-e")) for row in node.findall("m-mr"))
    return f"[{'; '.join(rows)}]"


_FORMS: dict[str, Callable[[Element], str]] = {
    "m-f": _fraction,
    "m-sSup": _scripts,
    "m-sSub": _scripts,
    "m-sSubSup": _scripts,
    "m-sPre": _before,
    "m-rad": _root,
    "m-nary": _nary,
    "m-d": _delimited,
    "m-func": _function,
    "m-limLow": _low,
    "m-limUpp": _high,
    "m-acc": _accent,
    "m-eqArr": _rows,
    "m-m": _matrix,
}
