"""Blocks as the readers collect them: headings kept by level, text cleaned, a heading with nothing under it kept too."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

from rung.errors import DataError
from rung.retrieve.passage import Block

# Controls, direction marks, zero-width and tag characters, lone surrogates: nothing a reader sees, and a place to hide words in.
# Surrogates come out of JSON escapes; no file or database takes them.
_UNSEEN = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f"
    "\ud800-\udfff\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
    "|(?<![\u0600-\u08ff\u0900-\u0dff])[\u200c\u200d]"  # in Arabic and Indic scripts joiners are spelling
)
_BREAKS = re.compile("[\x0b\x0c\x85\u2028\u2029]")
LONGEST_HEADING = 300
"""Characters. What is longer is marked as a heading by mistake, and is kept as text."""
MOST_TEXT = 64_000_000
"""Characters of all blocks. No document holds more, but a table may say a long column's name again in each row."""


def clean(text: str) -> str:
    """The text in NFC, without what nobody sees. Lines end with a newline and stay as many."""
    text = _BREAKS.sub(" ", text.replace("\r\n", "\n").replace("\r", "\n"))
    return unicodedata.normalize("NFC", _UNSEEN.sub("", text))


class Blocks:
    """Collects a document from its top: `heading` opens a section, `add` puts text into it, `done` gives the blocks."""

    def __init__(self) -> None:
        self.levels: list[tuple[int, str]] = []
        self._blocks: list[Block] = []
        self._size = 0
        self._bare: tuple[int, int] | None = None
        """Line and page of a heading under which nothing stands yet."""

    @property
    def path(self) -> tuple[str, ...]:
        return tuple(text for _, text in self.levels)

    def heading(self, level: int, text: str, line: int = 0, page: int = 0) -> None:
        """Open a section; it closes those of its level and below. A title said again by the first heading counts once."""
        text = " ".join(clean(text).split())
        if not text or len(text) > LONGEST_HEADING:
            self.add(text, line, line, page=page)
            return
        above = [(depth, name) for depth, name in self.levels if depth < level]
        if len(above) == len(self.levels):
            self._bare = None  # the heading before this one has a section below it
        self._keep_bare()
        if not (above and above[-1] == (0, text)):
            above.append((level, text))
        self.levels = above
        self._bare = (line, page)

    def add(
        self, text: str, first: int = 0, last: int = 0, *, page: int = 0, kind: Literal["text", "table", "code"] = "text"
    ) -> None:
        """Put text under the current heading; lines are 1-based and both included. Blank text is left out."""
        text = clean(text)
        if text.strip():
            self._bare = None
            self._size += len(text)
            if self._size > MOST_TEXT:
                raise DataError(
                    f"it comes to over {MOST_TEXT:,} characters of text{f', at line {first}' if first else ''}.",
                    remedy="Split it into files by subject.",
                )
            self._blocks.append(Block(text, self.path, first, last, page, kind))

    def extend(self, blocks: Iterable[Block]) -> None:
        """Put another document's blocks under the current heading; their lines are not the file's."""
        for block in blocks:
            before = self.levels
            self.levels = [*before, *((len(before) + i, name) for i, name in enumerate(block.heading))]
            self.add(block.text, page=block.page, kind=block.kind)
            self.levels = before

    def leave(self, levels: list[tuple[int, str]]) -> None:
        """Close what was opened since `levels` was read."""
        self._keep_bare()
        self.levels = levels

    def _keep_bare(self) -> None:
        if self._bare:
            line, page = self._bare
            self._blocks.append(Block(self.levels[-1][1], self.path, line, line, page))
            self._bare = None

    def without_lines(self) -> Blocks:
        """These blocks where the lines that were counted are not the file's."""
        self._blocks = [replace(block, first_line=0, last_line=0) for block in self._blocks]
        return self

    def done(self) -> tuple[Block, ...]:
        """All blocks, in order; empty where the file says nothing."""
        self._keep_bare()
        return tuple(self._blocks)
