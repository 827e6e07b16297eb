"""What answers lean on: whether their words stand in their own inputs, or in the documents."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from rung.data.near import Tokens, tokens
from rung.data.split import normalise
from rung.types import Example

HELD = 0.6
"""Share of an answer's telling words that must stand in a text for the text to hold it."""
FEWEST_WORDS = 1
SAMPLE = 200
"""Rows read."""
READABLE = {".md", ".txt", ".rst", ".html", ".htm", ".qmd", ".csv", ".json", ".jsonl", ".xml", ""}
MOST_BYTES = 4_000_000
"""Of documents read; a plan must stay quick."""
_PARAGRAPH = re.compile(r"\n\s*\n")


def inputs_hold(rows: Sequence[Example]) -> tuple[int, int]:
    """Rows whose input holds the answer, and rows that could be read: those whose answer has telling words."""
    read = [(_telling(row.output), _words(row)) for row in rows[:SAMPLE]]
    read = [(answer, own) for answer, own in read if len(answer) >= FEWEST_WORDS]
    return sum(len(answer & own) >= HELD * len(answer) for answer, own in read), len(read)


def documents_hold(rows: Sequence[Example], files: Sequence[str]) -> tuple[int, int]:
    """Rows of whose answer a paragraph holds what the input does not, and rows that could be read.

    A paragraph is looked up by words: one that a tenth of all paragraphs share tells nothing and is left out.
    """
    where: dict[str, list[int]] = defaultdict(list)
    count = 0
    for count, text in enumerate(_paragraphs(files), 1):
        for word in _telling(text):
            where[word].append(count)
    common = {word for word, places in where.items() if len(places) > max(3, count / 10)}
    held = read = 0
    for row in rows[:SAMPLE]:
        answer = _telling(row.output) - common
        if not answer:
            continue
        read += 1
        new = answer - _words(row)
        best = max(Counter(place for word in new for place in where.get(word, ())).values(), default=0)
        held += len(new) >= (1 - HELD) * len(answer) and best >= HELD * len(new)
    return held, read


def _words(row: Example) -> Tokens:
    return _telling("\n".join([*(turn.content for turn in row.history), row.input]))


def _telling(text: str) -> Tokens:
    """Words of four letters or more, and anything with a digit or of a script without spaces."""
    return frozenset(word for word in tokens(normalise(text)) if len(word) > 3 or word.isdigit() or ord(word[0]) > 0x3000)


def _paragraphs(files: Sequence[str]) -> Iterator[str]:
    left = MOST_BYTES
    for file in map(Path, files):
        if file.suffix.lower() in READABLE and left > 0:
            with file.open("rb") as opened:
                text = opened.read(left).decode("utf-8", errors="replace")
            left -= len(text)
            yield from (part for part in _PARAGRAPH.split(text) if part.strip())
