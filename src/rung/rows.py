"""A row of the team's data: its turns, its right answers, and preferences."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rung.message import Message as Message

UNKNOWN = "I don't know."
"""The right answer to an unanswerable question, in training and prompts."""


def digest(value: Any) -> str:
    """A short, stable digest of a JSON-able value: 16 hex digits of SHA-256 over its sorted JSON."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Example:
    """One row of the team's data: input and expected output."""

    input: str
    output: str
    history: tuple[Message, ...] = ()
    """Turns before `input` (a system message, an earlier exchange). Empty for most tasks."""
    group: str = ""
    """Rows of one group (a customer, a document) stay in one split."""
    where: str = ""
    """Location for messages: `tickets.csv line 41`."""
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Other columns, for custom metrics."""
    source: str = ""
    """The document (or document#section) with the answer, if known; several as a JSON list."""
    after: tuple[Message, ...] = ()
    """Turns between `input` and `output`: tool calls and their results. Usually empty."""

    references: tuple[str, ...] = ()
    """All right answers if there are several. `output` is the first and used for training and prompts."""

    @property
    def id(self) -> str:
        """Digest of the content without `where`, so that a row can move within its file."""
        later = [[m.named for m in self.after]] if self.after else []
        several = [{"references": list(self.references)}] if self.references else []
        return digest([self.input, self.output, [m.named for m in self.history], self.group, *later, *several])

    @property
    def accepted(self) -> tuple[str, ...]:
        """All right answers."""
        return self.references or (self.output,)

    @property
    def unanswerable(self) -> bool:
        """Whether the question has no answer."""
        return self.output == UNKNOWN


@dataclass(frozen=True, slots=True)
class Preference:
    """Two answers to a question, better and worse; or one answer with a vote, the other being empty."""

    input: str
    chosen: str
    rejected: str
    history: tuple[Message, ...] = ()
    where: str = ""
    source: str = ""
    """The document behind it, if known; not part of the id."""

    @property
    def id(self) -> str:
        return digest([self.input, self.chosen, self.rejected, [m.named for m in self.history]])


def example(content: Mapping[str, Any]) -> Example:
    """An Example from its JSON, also of older versions without `references` or `after`."""
    turns = {part: tuple(Message(**turn) for turn in content.get(part, ())) for part in ("history", "after")}
    return Example(**{**content, **turns, "references": tuple(content.get("references", ()))})
