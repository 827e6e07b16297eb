"""/v1/responses, as far as clients use it for text: messages in, one answer out. Nothing is stored between requests.

https://platform.openai.com/docs/api-reference/responses
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from rung.rows import Message
from rung.serve.answering.job import Call, Outcome, Piece
from rung.serve.endpoints import reading, schemas, tool_turns
from rung.serve.endpoints.chat import MESSAGES, TOOLS, Chat
from rung.serve.endpoints.reading import Temperature, Tokens, TopLogprobs, TopP, User, invalid
from rung.serve.endpoints.refused import Refused
from rung.serve.endpoints.wire import Head, about, counted, event, token

NEUTRAL: reading.Neutral = {
    "background": (False,),
    "max_tool_calls": (),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "stream_options": ({}, {"include_obfuscation": False}),
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


class _Called(BaseModel):
    model_config = ConfigDict(extra="ignore")  # of an answer that is sent back: id, status
    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str


class _Result(BaseModel):
    model_config = ConfigDict(extra="ignore")
    type: Literal["function_call_output"]
    call_id: str
    output: str | list[_Part]


class _Text(BaseModel):
    model_config = ConfigDict(extra="forbid")
    format: schemas.FlatForm | None = None
    verbosity: Literal["medium"] | None = None


class _Body(BaseModel):
    model_config = ConfigDict(extra="allow")
    model: str
    input: str | Annotated[list[_Called | _Result | _Item], Field(min_length=1, max_length=MESSAGES)]
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
    tools: Annotated[list[tool_turns.FlatTool], Field(max_length=TOOLS)] | None = None
    tool_choice: tool_turns.Mode | tool_turns.FlatNamedTool | None = None
    parallel_tool_calls: bool | None = None
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
            "output": items(head, outcome) if outcome else [],
            "usage": _usage(outcome) if outcome else None,
            **self.echoed,
        }

    def writing(self, head: Head) -> ResponseWriting:
        return ResponseWriting(self, head)


def items(head: Head, outcome: Outcome) -> list[dict[str, Any]]:
    """The answer: its calls of tools, or a message."""
    return [called(one) | about(outcome) for one in outcome.calls] if outcome.calls else [message(head, outcome)]


def called(call: Call, begun: bool = False) -> dict[str, Any]:
    """The item of a call; where it is only begun, without its arguments."""
    arguments, status = ("", "in_progress") if begun else (call.arguments, "completed")
    named = {"id": f"fc_{call.id}", "type": "function_call", "status": status}
    return {**named, "call_id": call.id, "name": call.name, "arguments": arguments}


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
    spoken: bool = False
    """Whether the message is begun."""

    def begin(self) -> Iterator[str]:
        started = self.asked.response(self.head, None, "in_progress")
        yield self._event("response.created", response=started)
        yield self._event("response.in_progress", response=started)

    def piece(self, piece: Piece) -> Iterator[str]:
        yield from self._begin_message()
        yield self._event("response.output_text.delta", **self._place, delta=piece.text, logprobs=[])

    def end(self, outcomes: Sequence[Outcome]) -> Iterator[str]:
        [one] = outcomes
        yield from self._calls(one) if one.calls else self._end_message(one)
        whole = self.asked.response(self.head, one)
        yield self._event(f"response.{whole['status']}", response=whole)

    def _begin_message(self) -> Iterator[str]:
        if not self.spoken:
            self.spoken = True
            yield self._event("response.output_item.added", output_index=0, item=message(self.head, None))
            yield self._event("response.content_part.added", **self._place, part=_part(None))

    def _end_message(self, outcome: Outcome) -> Iterator[str]:
        yield from self._begin_message()
        yield self._event("response.output_text.done", **self._place, text=outcome.content, logprobs=_logprobs(outcome))
        yield self._event("response.content_part.done", **self._place, part=_part(outcome))
        yield self._event("response.output_item.done", output_index=0, item=message(self.head, outcome))

    def _calls(self, outcome: Outcome) -> Iterator[str]:
        for place, (one, item) in enumerate(zip(outcome.calls or (), items(self.head, outcome))):
            yield self._event("response.output_item.added", output_index=place, item=called(one, begun=True))
            where = {"item_id": item["id"], "output_index": place}
            yield self._event("response.function_call_arguments.delta", **where, delta=one.arguments)
            yield self._event("response.function_call_arguments.done", **where, name=one.name, arguments=one.arguments)
            yield self._event("response.output_item.done", output_index=place, item=item)

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
    turns = _messages(body.input) if isinstance(body.input, list) else [Message("user", body.input)]
    tool_turns.check_turns(turns, "input")
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
        tools=tool_turns.request(body.tools, body.tool_choice, body.parallel_tool_calls),
    )
    return ResponseAsked(chat, _echoed(body))


def _wanted(body: _Body) -> int | None:
    if body.top_logprobs and not body.include:
        raise invalid("top_logprobs", "'top_logprobs' goes with include: ['message.output_text.logprobs'].")
    return (body.top_logprobs or 0) if body.include else None


def _messages(given: Sequence[_Called | _Result | _Item]) -> list[Message]:
    """Items as turns; calls in a row are one turn."""
    out: list[Message] = []
    for calls, some in groupby(given, key=lambda item: isinstance(item, _Called)):
        if calls:
            out.append(tool_turns.calling("", [_call(item) for item in some if isinstance(item, _Called)]))
        else:
            out += [_message(item) for item in some if not isinstance(item, _Called)]
    return out


def _call(item: _Called) -> tool_turns.Called:
    return tool_turns.Called(id=item.call_id, function=tool_turns.Function(name=item.name, arguments=item.arguments))


def _message(item: _Result | _Item) -> Message:
    said = item.output if isinstance(item, _Result) else item.content
    text = said if isinstance(said, str) else "".join(part.text for part in said)
    if isinstance(item, _Result):
        return tool_turns.result(text, item.call_id)
    return Message("system" if item.role == "developer" else item.role, text)


def _echoed(body: _Body) -> dict[str, Any]:
    """Fields that a client's type of a response requires, as the request has them."""
    choice = body.tool_choice
    return {
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "metadata": body.metadata or {},
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "previous_response_id": None,
        "store": False,
        "temperature": body.temperature,
        "text": body.text.model_dump(by_alias=True, exclude_none=True) if body.text else {"format": {"type": "text"}},
        "tool_choice": choice.model_dump() if isinstance(choice, BaseModel) else choice or "auto",
        "tools": [one.model_dump() for one in body.tools or ()],
        "top_p": body.top_p,
        "truncation": "disabled",
        "user": body.user,
    }


def _part(outcome: Outcome | None) -> dict[str, Any]:
    text, noted = (outcome.content, _logprobs(outcome)) if outcome else ("", [])
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
