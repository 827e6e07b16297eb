"""The values of retrieval: blocks of a parsed document, refused files, and the passages that are indexed and cited."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from rung.types import Source


@dataclass(frozen=True, slots=True)
class Block:
    """A run of text under one heading: a paragraph, a list, a table, a code block, a row of a table file."""

    text: str
    heading: tuple[str, ...]
    """The headings above it, outermost first."""
    first_line: int = 0
    """First line in the source, from 1; 0 if the format has no lines."""
    last_line: int = 0
    page: int = 0
    """From 1; 0 if the format has no pages."""
    kind: Literal["text", "table", "code"] = "text"


@dataclass(frozen=True, slots=True)
class Document:
    """One parsed file."""

    path: str
    """Relative to the documents' folder, with forward slashes."""
    digest: str
    """SHA-256 of the file's bytes, in hex."""
    blocks: tuple[Block, ...]
    access: str = ""
    """Access label."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A file that is not read, and why."""

    path: str
    reason: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Passage:
    """The unit that is indexed, retrieved and cited."""

    id: str
    """Digest of path, heading, text and its number among equal passages."""
    path: str
    heading: tuple[str, ...]
    text: str
    first_line: int = 0
    last_line: int = 0
    page: int = 0
    access: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def where(self) -> str:
        """The place in a citation: `docs/returns.md, Returns > Refunds, lines 10-24`, or `…, page 3`."""
        parts = [self.path]
        if self.heading:
            parts.append(" > ".join(self.heading))
        if self.page:
            parts.append(f"page {self.page}")
        elif self.first_line:
            one = self.first_line == self.last_line
            parts.append(f"line {self.first_line}" if one else f"lines {self.first_line}-{self.last_line}")
        return ", ".join(parts)


def embedded_text(passage: Passage) -> str:
    """The indexed text of a passage: its headings, then its own text."""
    return "\n".join([" > ".join(passage.heading), passage.text]) if passage.heading else passage.text


def source_of(passage: Passage) -> Source:
    """A passage as what a row's prompt shows and its answer cites."""
    return Source(passage.id, passage.path, passage.heading[-1] if passage.heading else "", passage.where, passage.text)
