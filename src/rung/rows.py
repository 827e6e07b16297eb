"""A row of the team's data: its turns, its right answers, and preferences."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rung.message import Message as Message

UNKNOWN = "I don't know."
"""The right answer to a question that cannot be answered, as it is taught and shown."""


def digest(value: Any) -> str:
    """A short, stable name for any JSON-able value: 16 hex digits of sha256 over its sorted JSON."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Example:
    """One row of the team's data: what comes in and what should come out."""

    input: str
    output: str
    history: tuple[Message, ...] = ()
    """Turns before `input` (a system message, an earlier exchange). Empty for most tasks."""
    group: str = ""
    """Rows of one group (a customer, a document) never stand in two splits."""
    where: str = ""
    """Where it was read, for messages: `tickets.csv line 41`."""
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """The row's other columns, for the team's own metric."""
    source: str = ""
    """The document (or document#section) that holds the answer, where the team knows it; several as a JSON list."""
    after: tuple[Message, ...] = ()
    """Turns between `input` and `output`: calls of tools and what these gave back. Empty for most tasks."""

    references: tuple[str, ...] = ()
    """All right answers where there are several. `output` is the first of them, and the one that is learnt and shown."""

    @property
    def id(self) -> str:
        """Content name. `where` is left out: moving a row to another line does not make it new."""
        later = [[m.named for m in self.after]] if self.after else []
        several = [{"references": list(self.references)}] if self.references else []
        return digest([self.input, self.output, [m.named for m in self.history], self.group, *later, *several])

    @property
    def accepted(self) -> tuple[str, ...]:
        """Every right answer, one or several."""
        return self.references or (self.output,)

    @property
    def unanswerable(self) -> bool:
        """Whether the right answer is that it is not known."""
        return self.output == UNKNOWN


@dataclass(frozen=True, slots=True)
class Preference:
    """Two answers to one question, the better and the worse; or one answer with a vote, the other text being empty."""

    input: str
    chosen: str
    rejected: str
    history: tuple[Message, ...] = ()
    where: str = ""
    source: str = ""
    """The document behind it, where its file has that column; it is no part of the content."""

    @property
    def id(self) -> str:
        return digest([self.input, self.chosen, self.rejected, [m.named for m in self.history]])


def example(content: Mapping[str, Any]) -> Example:
    """An Example from its JSON, also from that of an older version without several right answers or turns of tools."""
    turns = {part: tuple(Message(**turn) for turn in content.get(part, ())) for part in ("history", "after")}
    return Example(**{**content, **turns, "references": tuple(content.get("references", ()))})
