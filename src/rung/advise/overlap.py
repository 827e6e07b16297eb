"""Overlap of answers and sources: whether the words of an answer occur in its input or in the documents."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from rung.data.near import Tokens, tokens
from rung.data.split import normalise
from rung.types import Example

MIN_OVERLAP = 0.6
"""Share of an answer's content words that a text must contain to count as its source."""
MIN_WORDS = 1
SAMPLE_ROWS = 200
"""Rows that are examined."""
READABLE = {".md", ".txt", ".rst", ".html", ".htm", ".qmd", ".csv", ".json", ".jsonl", ".xml", ""}
MAX_BYTES = 4_000_000
"""Document bytes that are read, so that planning stays fast."""
_PARAGRAPH = re.compile(r"\n\s*\n")


def answers_in_inputs(rows: Sequence[Example]) -> tuple[int, int]:
    """Rows whose input contains the answer, and rows examined: those whose answer has content words."""
    read = [(_content_words(row.output), _words(row)) for row in rows[:SAMPLE_ROWS]]
    read = [(answer, own) for answer, own in read if len(answer) >= MIN_WORDS]
    return sum(len(answer & own) >= MIN_OVERLAP * len(answer) for answer, own in read), len(read)


def answers_in_documents(rows: Sequence[Example], files: Sequence[str]) -> tuple[int, int]:
    """Rows with a paragraph that contains what the answer adds to the input, and rows examined.

    Words that a tenth of all paragraphs share are ignored.
    """
    where: dict[str, list[int]] = defaultdict(list)
    count = 0
    for count, text in enumerate(_paragraphs(files), 1):
        for word in _content_words(text):
            where[word].append(count)
    common = {word for word, places in where.items() if len(places) > max(3, count / 10)}
    found = read = 0
    for row in rows[:SAMPLE_ROWS]:
        answer = _content_words(row.output) - common
        if not answer:
            continue
        read += 1
        new = answer - _words(row)
        best = max(Counter(place for word in new for place in where.get(word, ())).values(), default=0)
        found += len(new) >= (1 - MIN_OVERLAP) * len(answer) and best >= MIN_OVERLAP * len(new)
    return found, read


def _words(row: Example) -> Tokens:
    return _content_words("\n".join([*(turn.content for turn in row.history), row.input]))


def _content_words(text: str) -> Tokens:
    """Words of four letters or more, numbers, and characters of scripts without spaces."""
    return frozenset(word for word in tokens(normalise(text)) if len(word) > 3 or word.isdigit() or ord(word[0]) > 0x3000)


def _paragraphs(files: Sequence[str]) -> Iterator[str]:
    left = MAX_BYTES
    for file in map(Path, files):
        if file.suffix.lower() in READABLE and left > 0:
            with file.open("rb") as opened:
                text = opened.read(left).decode("utf-8", errors="replace")
            left -= len(text)
            yield from (part for part in _PARAGRAPH.split(text) if part.strip())
