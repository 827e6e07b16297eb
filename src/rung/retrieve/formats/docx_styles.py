"""What the styles of a Word document say of text: which level of heading it is, whether it is hidden, how it is numbered."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from xml.etree.ElementTree import Element

_OFF = {"0", "false", "off"}
_HEADING = re.compile(r"(?i)heading ([1-9])|(title)")


def switched(properties: Element | None, name: str) -> bool | None:
    """A property that is on or off; None where nothing is said of it."""
    found = None if properties is None else properties.find(name)
    return None if found is None else found.get("val", "1").lower() not in _OFF


@dataclass(frozen=True, eq=False)
class Styles:
    """The styles by their ids."""

    by_id: dict[str, Element] = field(default_factory=dict)
    default: str = ""
    """Id of the style of paragraphs that name none."""

    def chain(self, style: str) -> Iterator[Element]:
        """The style and those that it is based on; a circle ends where it closes."""
        seen: set[str] = set()
        while style in self.by_id and style not in seen:
            seen.add(style)
            yield self.by_id[style]
            based = self.by_id[style].find("w-basedOn")
            style = "" if based is None else based.get("val", "")

    def level(self, paragraph: Element) -> int | None:
        """Of a heading, 0 for the title; None for text. By the name of its style, else by the level in the outline."""
        own = paragraph.find("w-pPr/w-outlineLvl")
        if own is not None:
            return _outline(own)
        return _level(self, style_of(paragraph) or self.default)

    def hidden(self, run: Element | None, paragraph_style: str) -> bool:
        """Whether text with these run properties is hidden: said of the run itself, else by its styles, of which two undo one."""
        own = switched(run, "w-vanish")
        if own is not None:
            return own
        named = None if run is None else run.find("w-rStyle")
        of_run = False if named is None else _vanishes(self, named.get("val", ""))
        return of_run != _vanishes(self, paragraph_style or self.default)

    def numbering(self, paragraph: Element) -> tuple[str, int] | None:
        """Id and level of the list that the paragraph is in, by itself or by its style."""
        found: dict[str, str] = {}
        for holder in (paragraph, *self.chain(style_of(paragraph) or self.default)):
            for name in ("numId", "ilvl"):
                node = holder.find(f"w-pPr/w-numPr/w-{name}")
                if node is not None:
                    found.setdefault(name, node.get("val", ""))
        level = found.get("ilvl", "0")
        return (found["numId"], int(level) if level.isdigit() else 0) if found.get("numId", "0") != "0" else None

    def listed(self, paragraph: Element) -> bool:
        """Whether its style is one of Word's own for lists."""
        return any(_name(style).startswith("list") for style in self.chain(style_of(paragraph)))


def styles(root: Element | None) -> Styles:
    """Read the part of that name."""
    found = [] if root is None else root.findall("w-style")
    default = next(
        (s.get("styleId", "") for s in found if s.get("type") == "paragraph" and s.get("default") in ("1", "true")), ""
    )
    return Styles({style.get("styleId", ""): style for style in found}, default)


def style_of(paragraph: Element) -> str:
    """The id of the paragraph's style; empty where it names none."""
    found = paragraph.find("w-pPr/w-pStyle")
    return "" if found is None else found.get("val", "")


def _name(style: Element) -> str:
    found = style.find("w-name")
    return "" if found is None else found.get("val", "").lower()


def _outline(node: Element) -> int | None:
    value = node.get("val", "")
    return int(value) + 1 if value.isdigit() and int(value) < 9 else None


@lru_cache(maxsize=4096)
def _level(styles: Styles, style: str) -> int | None:
    for one in styles.chain(style):
        if match := _HEADING.fullmatch(_name(one)):
            return int(match[1] or 0)
        node = one.find("w-pPr/w-outlineLvl")
        if node is not None:
            return _outline(node)
    return None


@lru_cache(maxsize=4096)
def _vanishes(styles: Styles, style: str) -> bool:
    for one in styles.chain(style):
        said = switched(one.find("w-rPr"), "w-vanish")
        if said is not None:
            return said
    return False
