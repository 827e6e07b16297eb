"""A streamed answer: text, reasoning, finish reason and usage, collected from events of any known format."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rung.lm.remote import replies
from rung.lm.remote.bounded import TooMuchError
from rung.lm.remote.ledger import Usage

MAX_CHARACTERS = 8 << 20
"""Characters of a streamed answer at most."""


class StreamedReply:
    """The content of one stream's events so far."""

    def __init__(self) -> None:
        self.text = self.reasoning = self.finish = ""
        self.usage: Usage | None = None
        self.whole: dict[str, Any] | None = None
        """A complete answer in a single event."""
        self.begun = self.done = False

    @property
    def ended(self) -> bool:
        """Whether the stream has signalled its end; usage comes last."""
        return bool(self.finish or self.usage or self.done)

    @property
    def content(self) -> dict[str, Any]:
        """All events as one complete answer."""
        message = {"content": self.text, "reasoning_content": self.reasoning}
        return {"choices": [{"message": message, "finish_reason": self.finish}]}

    def events(self, given: Iterator[str]) -> Iterator[str]:
        """The data up to the end marker."""
        for data in given:
            if data == "[DONE]":
                self.done = True
                return
            if data:
                yield data

    def pieces(self, events: Iterator[dict[str, Any]]) -> Iterator[str]:
        """The text of each event."""
        for content in events:
            self.usage = replies.usage(content) or self.usage
            choice = replies.first_choice(content)
            if choice is None:
                continue  # the last event, with only the usage
            self.finish = replies.finish(choice) or self.finish
            message = choice.get("delta") or choice.get("message") or {"content": choice.get("text")}
            if not self.begun and _is_complete(content, choice) and (self.finish or self.usage):
                self.whole = content
                return
            self.begun = True
            if not isinstance(message, dict):
                continue
            self.reasoning += replies.reasoning_of(message)
            piece = replies.as_text(message.get("content"))
            self.text += piece
            if len(self.text) > MAX_CHARACTERS:
                raise TooMuchError(f"an answer of over {MAX_CHARACTERS} characters")
            yield piece


def _is_complete(content: dict[str, Any], choice: dict[str, Any]) -> bool:
    return isinstance(choice.get("message"), dict) and content.get("object") != "chat.completion.chunk"
