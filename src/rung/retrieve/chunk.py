"""Splits documents into passages: by heading, to a size in the embedder's tokens, each with its source lines."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from rung.retrieve.passage import Block, Document, Passage
from rung.types import digest

CHUNK_VERSION = 1  # increase when the same file is read or split in another way

CountTokens = Callable[[str], int]

CHARACTERS_PER_TOKEN = 16
"""Characters that count as at least one token: in WordPiece an unknown word of any length is a single token."""
WINDOW = 20_000
"""Characters per call of the splitter; its time is quadratic in a run without breaks."""

_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[\"'(\[*]*\w)|(?<=[。！？])(?=\w)|\n+(?=[^\n]*\w)")
"""The gap between two sentences or lines."""
_LEAD_IN = re.compile(r"[^\n]*[:：?？][*_)\"]*|(\*\*|__)[^\n]+\1")
"""A line that introduces the next one: a question, a bold line, "as follows:"."""


def chunk(document: Document, count_tokens: CountTokens, size: int = 200, overlap: int = 30) -> list[Passage]:
    """The document's passages, in order.

    `size`: most tokens of a passage including its headings, in the form of `embedded_text`; headings longer than half of it
    get half. Text under one heading (in a PDF: on one page) is combined up to the size and split between blocks if possible.
    Tables and code stay whole if they fit, and are split between lines if not; rows of a table file stay separate. When a
    section is split, whole sentences or lines of up to `overlap` tokens from the end of a passage start the next.
    `count_tokens` must count the whole text, without truncation.
    """

    def count(text: str) -> int:
        return max(count_tokens(text), len(text) // CHARACTERS_PER_TOKEN)

    passages: list[Passage] = []
    seen: dict[tuple[tuple[str, ...], str], int] = {}
    for (heading, page), group in groupby(document.blocks, key=lambda block: (block.heading, block.page)):
        capacity = size - (count(" > ".join(heading) + "\n") if heading else 0)
        section = _Section(tuple(group), count, max(capacity, size // 2, 1), overlap)
        for start, end in section.cuts():
            text = section.text[start:end]
            number = seen[heading, text] = seen.get((heading, text), 0) + 1
            first, last = section.lines(start, end)
            name = digest([document.path, heading, text, number])
            passages.append(Passage(name, document.path, heading, text, first, last, page, document.access))
    return passages


@dataclass(frozen=True, slots=True)
class _Piece:
    """A run of characters of a section that is not split further."""

    start: int
    end: int
    tokens: int
    prose: bool = True
    alone: bool = False
    """A whole table, which shares no passage with another table."""
    leads: bool = False
    """It belongs to the next piece."""


class _Section:
    """The blocks under one heading as one text. Passages are slices of it, so no text is lost and lines are exact."""

    def __init__(self, blocks: Sequence[Block], count: CountTokens, capacity: int, overlap: int):
        self.blocks, self.count, self.capacity, self.overlap = blocks, count, capacity, min(overlap, capacity // 2)
        self.text = "\n\n".join(block.text for block in blocks)
        self.starts: list[int] = []
        at = 0
        for block in blocks:
            self.starts.append(at)
            at += len(block.text) + 2
        self.breaks = [match.start() for match in re.finditer("\n", self.text)]

    def cuts(self) -> Iterator[tuple[int, int]]:
        """Start and end of each passage."""
        pieces = [piece for block, start in zip(self.blocks, self.starts) for piece in self._pieces(block, start)]
        begin = 0
        while begin < len(pieces):
            end = self._fill(pieces, begin)
            yield self._overlapping(pieces, begin, end), pieces[end - 1].end
            begin = end

    def _pieces(self, block: Block, at: int) -> Iterator[_Piece]:
        """The whole block if it fits; else its lines (tables, code) or the splitter's parts (text)."""
        tokens, prose = self.count(block.text), block.kind == "text"
        if tokens <= self.capacity:
            leads = prose and _LEAD_IN.fullmatch(block.text.strip()) is not None
            yield _Piece(at, at + len(block.text), tokens, prose, block.kind == "table", leads)
        elif prose:
            yield from self._split(block.text, at, self.capacity - self.overlap)
        else:
            for line in re.finditer(r"[^\n]*\S[^\n]*", block.text):
                if (tokens := self.count(line[0])) <= self.capacity:
                    yield _Piece(at + line.start(), at + line.end(), tokens, prose=False)
                else:
                    yield from self._split(line[0], at + line.start(), self.capacity)

    def _split(self, text: str, at: int, capacity: int) -> Iterator[_Piece]:
        """The largest meaningful parts (paragraphs, lines, sentences, words, characters) that fit."""
        from semantic_text_splitter import TextSplitter

        splitter, done = TextSplitter.from_callback(self.count, max(1, capacity)), 0
        while done < len(text):
            window = text[done : done + WINDOW]
            if done + WINDOW < len(text):
                window = window[: max(window.rfind(mark, 1) + 1 for mark in "\n ") or WINDOW]
            for offset, part in splitter.chunk_indices(window):
                yield _Piece(at + done + offset, at + done + offset + len(part), self.count(part))
            done += len(window)

    def _fill(self, pieces: Sequence[_Piece], begin: int) -> int:
        """The end (exclusive) of the passage that begins with piece `begin`."""
        end, used, table = begin + 1, pieces[begin].tokens, pieces[begin].alone
        while end < len(pieces) and used + pieces[end].tokens <= self.capacity and not (table and pieces[end].alone):
            used, table = used + pieces[end].tokens, table or pieces[end].alone
            end += 1
        while end > begin + 1 and self.count(self.text[pieces[begin].start : pieces[end - 1].end]) > self.capacity:
            end -= 1  # in many tokenizers line breaks are tokens too
        while end < len(pieces) and end > begin + 1 and pieces[end - 1].leads:
            end -= 1
        return end

    def _overlapping(self, pieces: Sequence[_Piece], begin: int, end: int) -> int:
        """The start of a passage extended by the last whole sentences or lines before it, as far as they fit."""
        start, stop = pieces[begin].start, pieces[end - 1].end
        if not begin or not self.overlap or pieces[begin].alone or pieces[begin - 1].alone:
            return start
        before = pieces[begin - 1]
        bounds = [before.start]
        if before.prose:
            bounds += [match.end() for match in _SENTENCE.finditer(self.text, before.start, before.end)]
        found = start
        for bound in reversed(bounds):
            if self.count(self.text[bound:start]) > self.overlap:
                break
            found = bound
        while found < start and self.count(self.text[found:stop]) > self.capacity:
            found = next((bound for bound in bounds if bound > found), start)
        return found

    def lines(self, start: int, end: int) -> tuple[int, int]:
        """First and last source line; those of the whole block if its text differs from the source."""
        return self._line(start, first=True), self._line(end - 1, first=False)

    def _line(self, at: int, first: bool) -> int:
        number = bisect_right(self.starts, at) - 1
        block, start = self.blocks[number], self.starts[number]
        above, below = (bisect_left(self.breaks, place) for place in (start, start + len(block.text)))
        if block.last_line - block.first_line == below - above:
            return block.first_line + bisect_left(self.breaks, at) - above
        return block.first_line if first else block.last_line
