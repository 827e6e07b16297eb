"""Numbers that Word writes in front of list items and headings: kept in the file as rules, not as text."""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element

from rung.retrieve.formats.numerals import counted

DEEPEST = 9


class Numbers:
    """Counts the items of each list as they come."""

    def __init__(self, root: Element | None) -> None:
        lists = {} if root is None else {one.get("abstractNumId", ""): one for one in root.findall("w-abstractNum")}
        self._levels: dict[str, dict[int, Element]] = {}
        self._starts: dict[str, dict[int, int]] = {}
        self._family: dict[str, str] = {}
        """Which lists count on together, by the rules that they share."""
        self._counts: dict[str, list[int | None]] = {}
        self._begun: set[str] = set()
        for num in [] if root is None else root.findall("w-num"):
            name, shared = num.get("numId", ""), _value(num, "w-abstractNumId")
            levels = lists[shared].findall("w-lvl") if shared in lists else []
            own = [level for change in num.findall("w-lvlOverride") for level in change.findall("w-lvl")]
            self._levels[name] = {_number(level.get("ilvl"), 0): level for level in (*levels, *own)}
            self._starts[name] = {
                _number(change.get("ilvl"), 0): _number(_value(change, "w-startOverride"), 1)
                for change in num.findall("w-lvlOverride")
                if change.find("w-startOverride") is not None
            }
            self._family[name] = shared

    def next(self, name: str, depth: int) -> str | None:
        """What stands before the next item of that list and level: "2.1 ", "- " for bullets; None where there is no such list."""
        levels = self._levels.get(name, {})
        if depth not in levels or depth >= DEEPEST:
            return None
        counts = self._counts.setdefault(self._family[name], [None] * DEEPEST)
        if name not in self._begun:
            self._begun.add(name)
            for level in self._starts[name]:
                counts[level : level + 1] = [None]
        for level in range(depth + 1):
            if counts[level] is None or level == depth:
                before = counts[level]
                start = self._starts[name].get(level, _number(_value(levels.get(level), "w-start"), 1))
                counts[level] = start if before is None else before + 1
        counts[depth + 1 :] = [None] * (DEEPEST - depth - 1)
        return self._shown(levels, depth, counts)

    @staticmethod
    def _shown(levels: dict[int, Element], depth: int, counts: list[int | None]) -> str:
        form = _value(levels[depth], "w-numFmt") or "decimal"
        if form == "bullet":
            return "- "
        legal = levels[depth].find("w-isLgl") is not None

        def place(match: re.Match[str]) -> str:
            level = int(match[1]) - 1
            shape = "decimal" if legal else _value(levels.get(level), "w-numFmt") or "decimal"
            return "" if shape == "none" else counted(counts[level] or 0, shape)

        text = re.sub(r"%([1-9])", place, _value(levels[depth], "w-lvlText"))
        return f"{text} " if form != "none" and text.strip() else ""


def _value(node: Element | None, name: str) -> str:
    found = None if node is None else node.find(name)
    return "" if found is None else found.get("val", "")


def _number(text: str | None, default: int) -> int:
    return int(text) if text and text.isdecimal() and len(text) < 10 else default
