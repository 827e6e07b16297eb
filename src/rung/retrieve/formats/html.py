"""HTML as a reader sees it: headings, paragraphs, lists, tables by column; scripts, hidden parts and navigation left out."""

from __future__ import annotations

import re
import time
from html.parser import HTMLParser

from rung.errors import DataError
from rung.retrieve.formats.blocks import Blocks, clean
from rung.retrieve.formats.html_text import Flow
from rung.retrieve.formats.mathml import Formula

DROPPED = {"script", "style", "nav", "template", "noscript", "svg", "iframe", "object", "canvas", "select", "rp", "datalist"}
SOFT = {"nav", "svg", "object", "canvas", "select", "button", "header", "footer", "aside"}
"""Of what is dropped, tags whose text a browser shows where they are never closed."""
ROLES = {"navigation": "nav", "banner": "header", "contentinfo": "footer", "complementary": "aside", "main": "main"}
HEADINGS = {"title": 0, **{f"h{level}": level for level in range(1, 7)}}
APART = {
    *("address", "article", "aside", "blockquote", "body", "caption", "center", "dd", "details", "dialog", "div", "dt"),
    *("fieldset", "figcaption", "figure", "footer", "form", "head", "header", "hr", "html", "li", "main", "p", "pre"),
    *("option", "section", "summary", "tbody", "tfoot", "thead", "tr", "ul", "ol", "dl", "table", *HEADINGS),
}
"""Tags that end a line."""
PARTS = {"article", "section", "main"}
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"}
ENDED_BY = {
    "p": APART,
    "li": {"li"},
    "dt": {"dt", "dd"},
    "dd": {"dt", "dd"},
    "tr": {"tr", "tbody"},
    "td": {"td", "th", "tr"},
    "th": {"td", "th", "tr"},
    "rp": {"rp", "rt"},
}
"""Tags that need not be closed, and what opens in their stead."""

SECONDS = 30.0
PIECE = 1 << 16
_HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_MAIN = re.compile(r"<main\b|\brole\s*=\s*[\"']?main\b", re.IGNORECASE)

Attributes = dict[str, str | None]


def read_html(text: str) -> Blocks:
    """Text by its events, not as a tree: tags nested ten thousand deep, or never closed, cost nothing.

    Where the page says which part is its main one, headers, footers and asides of the site around it are left out.
    """
    deadline = time.monotonic() + SECONDS
    kept: set[str] = set()
    has_main = _MAIN.search(text) is not None
    while True:
        reader = _read(text, _Reader(kept, has_main), deadline)
        if reader.dropped in SOFT and not reader.hidden:
            kept.add(reader.dropped)
        elif has_main and not reader.blocks.done():
            has_main = False
        else:
            return reader.blocks


def _read(text: str, reader: _Reader, deadline: float) -> _Reader:
    for start in range(0, len(text), PIECE):
        reader.feed(text[start : start + PIECE])
        if time.monotonic() > deadline:
            raise DataError(f"reading it took over {SECONDS:.0f} seconds; line {reader.getpos()[0]} was reached.")
    if len(reader.rawdata) > PIECE:  # at the end the parser looks for what is missing from every mark anew
        raise DataError(f"the tag or comment in line {reader.getpos()[0]} is never closed.")
    reader.close()
    reader.end()
    return reader


class _Reader(HTMLParser):
    """Decides what is seen, and hands it to the flow of text."""

    def __init__(self, kept: set[str], has_main: bool) -> None:
        super().__init__()
        self.blocks = Blocks()
        self.flow = Flow(self.blocks)
        self.kept, self.has_main = kept, has_main
        self.dropped, self.depth, self.inner, self.hidden = "", 0, 0, False
        """The tag that is being left out, how many of it and of other blocks are open in it, and whether it is hidden."""
        self.parts = 0
        """Open articles, sections and main parts: headers and asides in these belong to the text."""
        self.main, self.main_depth = "", 0
        """A tag that plays the part of `main`, and how many of it are open."""
        self.formula: Formula | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self.dropped and not self._ended_by(tag):
            self.depth += tag == self.dropped
            self.inner += tag in APART and tag not in ENDED_BY and tag != "hr"
            return
        given = dict(reversed(attrs))
        if self.formula and tag not in APART:
            self.formula.start(tag)
        elif self._is_dropped(tag, given):
            self.dropped, self.depth, self.inner = tag, 1, 0
        else:
            self._end_formula()
            self._start(tag, given)

    def _start(self, tag: str, given: Attributes) -> None:
        self.main_depth += tag == self.main
        if tag in PARTS:
            self.parts += 1
        elif given.get("role") == "main" and not self.main and tag not in VOID:
            self.main, self.main_depth = tag, 1
        if tag == "math":
            self.formula = Formula()
        elif tag in HEADINGS:
            self.flow.heading(HEADINGS[tag])
        elif tag in APART or tag in ("td", "th"):
            self.flow.block(tag, given)
        else:
            self.flow.inline(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.dropped:
            if tag == self.dropped:
                self.depth -= 1
            elif not (self.dropped in ENDED_BY and not self.inner and tag in APART):
                self.inner -= tag in APART and tag not in ENDED_BY and self.inner > 0
                return
            else:
                self.depth = 0
            if self.depth:
                return
            own, self.dropped, self.hidden = tag == self.dropped, "", False
            if own:
                return
        if self.formula and tag != "math" and tag not in APART:
            self.formula.end(tag)
            return
        self._end_formula()
        if tag in PARTS:
            self.parts = max(0, self.parts - 1)
        self.main_depth -= tag == self.main
        self.main = self.main if self.main_depth else ""
        if tag in HEADINGS:
            self.flow.end_heading()
        elif tag in APART or tag in ("td", "th"):
            self.flow.end_block(tag)
        else:
            self.flow.end_inline(tag)

    def handle_data(self, data: str) -> None:
        if self.dropped:
            return
        if self.formula:
            self.formula.data(clean(data))
        else:
            self.flow.text(data, self.getpos()[0])

    def end(self) -> None:
        """The page is over."""
        self._end_formula()
        self.flow.end()

    def _end_formula(self) -> None:
        if self.formula:
            formula, self.formula = self.formula, None
            self.flow.text(formula.text(), self.getpos()[0])

    def _ended_by(self, tag: str) -> bool:
        """Whether what is left out ends where this tag opens."""
        if self.inner or tag not in ENDED_BY.get(self.dropped, ()):
            return False
        self.dropped, self.hidden = "", False
        return True

    def _is_dropped(self, tag: str, given: Attributes) -> bool:
        classes = (given.get("class") or "").split()
        if tag in VOID:
            return False
        if _is_hidden(tag, given, classes):
            self.hidden = True
            return True
        if tag == "button":
            return "button" not in self.kept and self.flow.level < 0 and not {"aria-expanded", "aria-controls"} & set(given)
        tag = tag if tag in DROPPED else ROLES.get(given.get("role") or "", tag)
        if tag in self.kept:
            return False
        if tag in ("header", "footer", "aside"):
            return self.has_main and not self.parts and not self.main
        return tag in DROPPED or (tag == "a" and "headerlink" in classes) or (tag == "td" and "linenos" in classes)


def _is_hidden(tag: str, given: Attributes, classes: list[str]) -> bool:
    """By the element's own attributes; style sheets are not asked. Formulas are shown as pictures beside hidden MathML."""
    if "hidden" in given and given["hidden"] != "until-found":
        return True
    if _HIDDEN.search(given.get("style") or "") and not any(name.startswith("mwe-math") for name in classes):
        return True
    return (tag == "dialog" and "open" not in given) or "katex-html" in classes
