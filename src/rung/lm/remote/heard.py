"""A streamed answer as it is heard: text, reasoning, end and bill, gathered from events of whatever shape."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rung.lm.remote import shapes
from rung.lm.remote.bounded import TooMuchError
from rung.lm.remote.ledger import Usage

MOST_LETTERS = 8 << 20
"""Of an answer that is streamed."""


class Heard:
    """What the events of one stream have told so far."""

    def __init__(self) -> None:
        self.text = self.reasoning = self.finish = ""
        self.usage: Usage | None = None
        self.whole: dict[str, Any] | None = None
        """An answer that came all at once."""
        self.begun = self.done = False

    @property
    def ended(self) -> bool:
        """Whether the stream said that the answer is whole; a bill comes last."""
        return bool(self.finish or self.usage or self.done)

    @property
    def content(self) -> dict[str, Any]:
        """All events as one answer."""
        message = {"content": self.text, "reasoning_content": self.reasoning}
        return {"choices": [{"message": message, "finish_reason": self.finish}]}

    def events(self, given: Iterator[str]) -> Iterator[str]:
        """The data up to the mark of the end."""
        for data in given:
            if data == "[DONE]":
                self.done = True
                return
            if data:
                yield data

    def pieces(self, events: Iterator[dict[str, Any]]) -> Iterator[str]:
        """The text of each event."""
        for content in events:
            self.usage = shapes.usage(content) or self.usage
            choice = shapes.first_choice(content)
            if choice is None:
                continue  # the last one, with the bill alone
            self.finish = shapes.finish(choice) or self.finish
            message = choice.get("delta") or choice.get("message") or {"content": choice.get("text")}
            if not self.begun and _at_once(content, choice) and (self.finish or self.usage):
                self.whole = content
                return
            self.begun = True
            if not isinstance(message, dict):
                continue
            self.reasoning += shapes.reasoned(message)
            piece = shapes.flat(message.get("content"))
            self.text += piece
            if len(self.text) > MOST_LETTERS:
                raise TooMuchError(f"an answer of over {MOST_LETTERS} letters")
            yield piece


def _at_once(content: dict[str, Any], choice: dict[str, Any]) -> bool:
    return isinstance(choice.get("message"), dict) and content.get("object") != "chat.completion.chunk"
