"""/v1/responses, as far as clients use it for text: messages in, one answer out. Nothing is stored between requests.

https://platform.openai.com/docs/api-reference/responses
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from rung.rows import Message
from rung.serve.answering.job import Outcome, Piece
from rung.serve.endpoints import reading, schemas
from rung.serve.endpoints.chat import MESSAGES, Chat
from rung.serve.endpoints.reading import Temperature, Tokens, TopLogprobs, TopP, User, invalid
from rung.serve.endpoints.refused import Refused
from rung.serve.endpoints.wire import Head, about, counted, event, token

NEUTRAL: reading.Neutral = {
    "background": (False,),
    "max_tool_calls": (),
    "parallel_tool_calls": (True, False),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "stream_options": ({}, {"include_obfuscation": False}),
    "tool_choice": ("auto", "none"),
    "tools": ([],),
    "truncation": ("disabled",),
}


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore")  # of an answer that is sent back: annotations, logprobs
    type: Literal["input_text", "output_text", "text"]
    text: str


class _Item(BaseModel):
    model_config = ConfigDict(extra="ignore")  # of an answer that is sent back: id, status
    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[_Part]


class _Text(BaseModel):
    model_config = ConfigDict(extra="forbid")
    format: schemas.FlatForm | None = None
    verbosity: Literal["medium"] | None = None


class _Body(BaseModel):
    model_config = ConfigDict(extra="allow")
    model: str
    input: str | Annotated[list[_Item], Field(min_length=1, max_length=MESSAGES)]
    instructions: str | None = None
    stream: bool | None = None
    max_output_tokens: Tokens | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    text: _Text | None = None
    user: User | None = None
    safety_identifier: User | None = None
    prompt_cache_key: User | None = None
    include: list[Literal["message.output_text.logprobs"]] | None = None
    top_logprobs: TopLogprobs | None = None
    metadata: Annotated[dict[str, Annotated[str, Field(max_length=512)]], Field(max_length=16)] | None = None


@dataclass(frozen=True, slots=True)
class ResponseAsked:
    """A request for a response."""

    chat: Chat
    echoed: Mapping[str, Any]
    """What of the request stands in the response."""
    prefix = "resp_"
    operation = "chat"

    @property
    def chats(self) -> tuple[Chat, ...]:
        return (self.chat,)

    def whole(self, head: Head, outcomes: Sequence[Sequence[Outcome]]) -> dict[str, Any]:
        return self.response(head, outcomes[0][0])

    def response(self, head: Head, outcome: Outcome | None, status: str = "", error: Any = None) -> dict[str, Any]:
        """https://platform.openai.com/docs/api-reference/responses/object"""
        cut = outcome is not None and outcome.finish == "length"
        return {
            "id": head.id,
            "object": "response",
            "created_at": head.created,
            "status": status or ("incomplete" if cut else "completed"),
            "error": error,
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "model": head.model,
            "output": [message(head, outcome)] if outcome else [],
            "usage": _usage(outcome) if outcome else None,
            **self.echoed,
        }

    def writing(self, head: Head) -> ResponseWriting:
        return ResponseWriting(self, head)


def message(head: Head, outcome: Outcome | None) -> dict[str, Any]:
    """The item that carries the answer; without one the item that is begun."""
    status = "in_progress" if outcome is None else "incomplete" if outcome.finish == "length" else "completed"
    content = [_part(outcome)] if outcome else []
    item = {"id": head.id.replace("resp_", "msg_"), "type": "message", "status": status, "role": "assistant", "content": content}
    return item | (about(outcome) if outcome else {})


@dataclass(slots=True)
class ResponseWriting:
    """A stream of named events. https://platform.openai.com/docs/api-reference/responses-streaming"""

    asked: ResponseAsked
    head: Head
    sent: int = 0
    """Events so far."""
    said: list[str] = field(default_factory=list)

    def begin(self) -> Iterator[str]:
        started = self.asked.response(self.head, None, "in_progress")
        yield self._event("response.created", response=started)
        yield self._event("response.in_progress", response=started)
        item = message(self.head, None)
        yield self._event("response.output_item.added", output_index=0, item=item)
        yield self._event("response.content_part.added", **self._place, part=_part(None))

    def piece(self, piece: Piece) -> Iterator[str]:
        yield self._event("response.output_text.delta", **self._place, delta=piece.text, logprobs=[])

    def end(self, outcomes: Sequence[Outcome]) -> Iterator[str]:
        [one] = outcomes
        yield self._event("response.output_text.done", **self._place, text=one.text, logprobs=_logprobs(one))
        yield self._event("response.content_part.done", **self._place, part=_part(one))
        yield self._event("response.output_item.done", output_index=0, item=message(self.head, one))
        whole = self.asked.response(self.head, one)
        yield self._event(f"response.{whole['status']}", response=whole)

    def broken(self, why: Refused) -> Iterator[str]:
        error = {"code": why.code or "server_error", "message": why.what}
        yield self._event("response.failed", response=self.asked.response(self.head, None, "failed", error))

    @property
    def _place(self) -> dict[str, Any]:
        return {"item_id": self.head.id.replace("resp_", "msg_"), "output_index": 0, "content_index": 0}

    def _event(self, kind: str, **more: Any) -> str:
        self.sent += 1
        return event({"type": kind, "sequence_number": self.sent - 1, **more}, kind)


def read(raw: bytes) -> ResponseAsked:
    """A body of /v1/responses. Refused with 400, naming the parameter, where it asks for what is not there."""
    body = reading.read(raw, _Body, NEUTRAL)
    turns = [_message(item) for item in body.input] if isinstance(body.input, list) else [Message("user", body.input)]
    if turns[-1].role != "user":
        raise invalid("input", "the last message of 'input' must be the user's.")
    first = [Message("system", body.instructions)] if body.instructions else []
    chat = Chat(
        body.model,
        (*first, *turns),
        bool(body.stream),
        max_tokens=body.max_output_tokens,
        temperature=body.temperature,
        top_p=body.top_p,
        user=body.user or body.safety_identifier or "",
        schema=schemas.schema(body.text.format if body.text else None, "text"),
        logprobs=_wanted(body),
    )
    return ResponseAsked(chat, _echoed(body))


def _wanted(body: _Body) -> int | None:
    if body.top_logprobs and not body.include:
        raise invalid("top_logprobs", "'top_logprobs' goes with include: ['message.output_text.logprobs'].")
    return (body.top_logprobs or 0) if body.include else None


def _message(item: _Item) -> Message:
    text = item.content if isinstance(item.content, str) else "".join(part.text for part in item.content)
    return Message("system" if item.role == "developer" else item.role, text)


def _echoed(body: _Body) -> dict[str, Any]:
    """Fields that a client's type of a response requires, as the request has them."""
    return {
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "metadata": body.metadata or {},
        "parallel_tool_calls": False,
        "previous_response_id": None,
        "store": False,
        "temperature": body.temperature,
        "text": body.text.model_dump(by_alias=True, exclude_none=True) if body.text else {"format": {"type": "text"}},
        "tool_choice": "none",
        "tools": [],
        "top_p": body.top_p,
        "truncation": "disabled",
        "user": body.user,
    }


def _part(outcome: Outcome | None) -> dict[str, Any]:
    text, noted = (outcome.text, _logprobs(outcome)) if outcome else ("", [])
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": noted}


def _logprobs(outcome: Outcome) -> list[dict[str, Any]]:
    """Tokens as in a chat; here bytes are a list always."""
    found = [token(one) for one in outcome.logprobs]
    for entry in [*found, *(other for one in found for other in one["top_logprobs"])]:
        entry["bytes"] = entry["bytes"] or []
    return found


def _usage(outcome: Outcome) -> dict[str, Any]:
    read, written, cached = counted([[outcome]])
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": cached},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": read + written,
    }
