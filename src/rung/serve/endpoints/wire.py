"""Answers in the shape of OpenAI's chat API, whole and as server-sent events.

What goes beyond that shape is under `rung`: of a choice `confidence`, `citations`, `abstained`, `messages_read`; of a model
its rung and a notice.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rung.serve.answering.job import Call, Outcome, Piece, TokenLogprob
from rung.serve.answering.models import Served
from rung.serve.endpoints import chat as chats
from rung.serve.endpoints.chat import Chat
from rung.serve.endpoints.refused import Refused

LOWEST = -9999.0
"""A log-probability below this is written as this, as OpenAI does: JSON has no infinity."""
DONE = "data: [DONE]\n\n"


class Head(NamedTuple):
    """What all parts of a response carry."""

    id: str
    created: int
    """Seconds since 1970."""
    model: str

    def of(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


@dataclass(frozen=True, slots=True)
class ChatAsked:
    """A request to /v1/chat/completions. https://platform.openai.com/docs/api-reference/chat/object"""

    chat: Chat
    prefix = "chatcmpl-"
    operation = "chat"

    @property
    def chats(self) -> tuple[Chat, ...]:
        return (self.chat,)

    def whole(self, head: Head, outcomes: Sequence[Sequence[Outcome]]) -> dict[str, Any]:
        choices = [
            {
                "index": k,
                "message": {"role": "assistant", "content": one.content, "refusal": None, **_called(one)},
                "finish_reason": one.finish,
                "logprobs": logprobs(self.chat, one.logprobs),
                **about(one),
            }
            for k, one in enumerate(outcomes[0])
        ]
        return {**head.of("chat.completion"), "choices": choices, "usage": usage(outcomes)}

    def writing(self, head: Head) -> ChatWriting:
        return ChatWriting(self.chat, head)


def read_chat(raw: bytes) -> ChatAsked:
    """A body of /v1/chat/completions."""
    return ChatAsked(chats.read(raw))


@dataclass(slots=True)
class ChatWriting:
    """A stream of chunks. https://platform.openai.com/docs/api-reference/chat/streaming"""

    chat: Chat
    head: Head
    begun: set[int] = field(default_factory=set)
    """The answers whose role was sent."""

    def begin(self) -> Iterable[str]:
        return ()

    def piece(self, piece: Piece) -> Iterator[str]:
        yield self._said(piece.index, {"content": piece.text})

    def end(self, outcomes: Sequence[Outcome]) -> Iterator[str]:
        for index in sorted(set(range(self.chat.n)) - self.begun):
            yield self._said(index, {"content": outcomes[index].content})
        for k, one in enumerate(outcomes):
            yield from (self._said(k, delta) for delta in _call_deltas(one))
            found = logprobs(self.chat, one.logprobs)
            yield self._chunk({"index": k, "delta": {}, "finish_reason": one.finish, "logprobs": found, **about(one)})
        if self.chat.usage_at_end:
            yield event({**self.head.of("chat.completion.chunk"), "choices": [], "usage": usage([outcomes])})
        yield DONE

    def broken(self, why: Refused) -> Iterator[str]:
        yield event(why.body)

    def _said(self, index: int, delta: dict[str, Any]) -> str:
        """A chunk of one answer; its first has the role."""
        role = {} if index in self.begun else {"role": "assistant"}
        self.begun.add(index)
        return self._chunk({"index": index, "delta": role | delta, "finish_reason": None, "logprobs": None})

    def _chunk(self, choice: dict[str, Any]) -> str:
        return event({**self.head.of("chat.completion.chunk"), "choices": [choice]})


def _called(outcome: Outcome) -> dict[str, Any]:
    """The calls of a message; nothing where it has none."""
    found = [_call(one, one.arguments) for one in outcome.calls or ()]
    return {"tool_calls": found} if found else {}


def _call_deltas(outcome: Outcome) -> Iterator[dict[str, Any]]:
    """The calls of a stream: of each its name, then its arguments."""
    for index, one in enumerate(outcome.calls or ()):
        yield {"tool_calls": [{"index": index, **_call(one, "")}]}
        yield {"tool_calls": [{"index": index, "function": {"arguments": one.arguments}}]}


def _call(one: Call, arguments: str) -> dict[str, Any]:
    return {"id": one.id, "type": "function", "function": {"name": one.name, "arguments": arguments}}


def logprobs(chat: Chat, tokens: Sequence[TokenLogprob]) -> dict[str, Any] | None:
    """Each token of an answer with its log-probability. A label is one token."""
    return {"content": [token(one) for one in tokens], "refusal": None} if chat.logprobs is not None else None


def token(one: TokenLogprob) -> dict[str, Any]:
    """A token with its log-probability and the likeliest ones in its place."""
    return {**_token(one.text, one.logprob), "top_logprobs": [_token(text, log) for text, log in one.top]}


def _token(text: str, logprob: float) -> dict[str, Any]:
    return {"token": text, "logprob": max(logprob, LOWEST), "bytes": None if "\ufffd" in text else list(text.encode())}


def counted(outcomes: Sequence[Sequence[Outcome]]) -> tuple[int, int, int]:
    """Tokens read, written, and cached of those read: each prompt counted once, all answers to it together."""
    read = sum(max(one.tokens_in for one in each) for each in outcomes)
    cached = sum(max(one.tokens_cached for one in each) for each in outcomes)
    return read, sum(one.tokens_out for each in outcomes for one in each), cached


def usage(outcomes: Sequence[Sequence[Outcome]]) -> dict[str, Any]:
    """Tokens of a request."""
    read, written, cached = counted(outcomes)
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def event(value: dict[str, Any], name: str = "") -> str:
    """A server-sent event."""
    return (f"event: {name}\n" if name else "") + f"data: {json.dumps(value)}\n\n"


def model(served: Served) -> dict[str, Any]:
    """https://platform.openai.com/docs/api-reference/models/object"""
    about = {"rung": served.rung or None, "notice": served.notice or None, "base": served.model.name}
    about |= {"tools": json.loads(served.tools.listed)} if served.tools else {}
    return {"id": served.name, "object": "model", "created": 0, "owned_by": "rung", "rung": about}


def about(outcome: Outcome) -> dict[str, Any]:
    """What goes beyond OpenAI's shape."""
    return {"rung": outcome.about} if outcome.about else {}
