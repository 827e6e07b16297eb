"""HTML as a reader sees it: headings, paragraphs, lists, tables as rows; scripts, styles and navigation left out."""

from __future__ import annotations

import re
import time
from html.parser import HTMLParser
from typing import Literal

from rung.errors import DataError
from rung.retrieve.formats.blocks import Blocks, clean

DROPPED = {"script", "style", "nav", "template", "noscript", "svg", "iframe", "object", "canvas", "select", "button"}
WHOLE = {"ul", "ol", "dl", "table"}
"""Tags whose lines stay together in one block."""
HEADINGS = {"title": 0, **{f"h{level}": level for level in range(1, 7)}}
APART = {
    *("address", "article", "aside", "blockquote", "body", "caption", "center", "dd", "details", "dialog", "div", "dt"),
    *("fieldset", "figcaption", "figure", "footer", "form", "head", "header", "hr", "html", "li", "main", "p", "pre"),
    *("section", "summary", "tbody", "tfoot", "thead", "tr", *WHOLE, *HEADINGS),
}
"""Tags that end a line."""

SECONDS = 30.0
PIECE = 1 << 16
_CELL = "\x1f"
_BULLET = re.compile(r"^(?: *- *\n\s*)+", re.MULTILINE)
"""Bullets whose text a paragraph of its own holds."""


def read_html(text: str) -> Blocks:
    """Text by its events, not as a tree: tags nested ten thousand deep, or never closed, cost nothing."""
    reader = _Reader()
    deadline = time.monotonic() + SECONDS
    for start in range(0, len(text), PIECE):
        reader.feed(text[start : start + PIECE])
        if time.monotonic() > deadline:
            raise DataError(f"reading it took over {SECONDS:.0f} seconds; line {reader.getpos()[0]} was reached.")
    if len(reader.rawdata) > PIECE:  # at the end the parser looks for what is missing from every mark anew
        raise DataError(f"the tag or comment in line {reader.getpos()[0]} is never closed.")
    reader.close()
    reader.flush()
    return reader.blocks


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = Blocks()
        self.dropped, self.depth = "", 0
        """The tag that is being left out, and how many of it are open."""
        self.over = False
        """Whether the page's main part has ended; what follows is the site's."""
        self.level = -1
        """Of the heading being read; -1 outside."""
        self.whole = self.pre = 0
        self.kind: Literal["text", "table", "code"] = "text"
        self.parts: list[str] = []
        self.first = self.last = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self.dropped:
            self.depth += tag == self.dropped
        elif tag in DROPPED or (tag == "a" and "headerlink" in (dict(attrs).get("class") or "")):
            self.dropped, self.depth = tag, 1
        elif tag in APART:
            self._apart(tag in HEADINGS)
            if tag == "main":
                self._begin_again()
            self.level = HEADINGS.get(tag, self.level)
            self._open(tag)
        elif tag in ("td", "th"):
            self.parts.append(_CELL)
        elif tag == "br":
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if self.dropped:
            self.depth -= tag == self.dropped
            self.dropped = self.dropped if self.depth else ""
        elif tag in APART:
            if tag in WHOLE:
                self.whole = max(0, self.whole - 1)
            if tag == "pre":
                self.pre = max(0, self.pre - 1)
            self._apart(tag in HEADINGS)
            self.over |= tag == "main"
            if tag in HEADINGS:
                self.level = -1

    def handle_data(self, data: str) -> None:
        if self.dropped or self.over:
            return
        if data.strip():
            line = self.getpos()[0]
            if not self.first:
                self.first = line + data.count("\n", 0, len(data) - len(data.lstrip()))
            self.last = line + data.count("\n", 0, len(data.rstrip()))
        self.parts.append(clean(data) if self.pre else re.sub(r"\s+", " ", clean(data)))

    def _open(self, tag: str) -> None:
        if tag in WHOLE:
            self.whole += 1
        if tag == "li":
            self.parts.append("- ")
        if tag == "pre":
            self.pre += 1
        if not self.first and tag in ("table", "pre"):
            self.kind = "table" if tag == "table" else "code"

    def _begin_again(self) -> None:
        """What stood before the main part is the site's, but for the page's title."""
        title = [heading for heading in self.blocks.levels if heading[0] == 0]
        self.blocks = Blocks()
        self.blocks.levels = title

    def _apart(self, heading: bool) -> None:
        """End a line inside a list or table, else a block. A heading ends all: pages are laid out in tables that hold them."""
        if heading:
            self.whole = 0
        if self.whole or (self.pre and not heading):
            self.parts.append("\n")
        else:
            self.flush()

    def flush(self) -> None:
        """Hand on what was read since the last block."""
        text = "".join(self.parts)
        if self.kind != "code":
            text = _BULLET.sub("- ", text)
            text = "\n".join(line for line in map(_line, text.split("\n")) if line)
        text = text.strip("\n")
        if self.level >= 0:
            self.blocks.heading(self.level, text, self.first)
            self.level = -1 if text else self.level
        elif self.first:
            self.blocks.add(text, self.first, self.last, kind=self.kind)
        self.parts, self.first, self.kind = [], 0, "text"


def _line(line: str) -> str:
    """Cells with bars between them; a line of empty cells, or of a bullet alone, is none."""
    cells = [" ".join(cell.split()) for cell in line.split(_CELL)]
    text = " | ".join(cells[1:] if len(cells) > 1 and not cells[0] else cells)
    return text if text.strip(" |-") else ""
