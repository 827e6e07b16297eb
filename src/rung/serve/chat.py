"""The body of a chat request, read strictly: what is not supported is refused by name, never ignored.

https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rung.rows import Example, Message
from rung.serve.refused import Refused

CHOICES = 16
"""Most answers to one request (`n`)."""
STOPS, STOP_LENGTH = 4, 256
"""Most stop texts, as OpenAI has it, and characters of one."""
MESSAGES = 1000
"""Most messages of one request."""

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "store": (False,),
    "tools": ([],),
    "tool_choice": ("none",),
    "functions": ([],),
    "service_tier": ("auto", "default"),
}
"""Values of unsupported parameters that ask for nothing; null is one for each parameter."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")
    type: Literal["text"]
    text: str


class _Turn(BaseModel):
    model_config = ConfigDict(extra="allow")
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[_Part]


class _StreamOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")
    include_usage: bool | None = None
    include_obfuscation: Literal[False] | None = None


class _Body(BaseModel):
    model_config = ConfigDict(extra="allow")
    model: str
    messages: Annotated[list[_Turn], Field(min_length=1, max_length=MESSAGES)]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: Annotated[int, Field(ge=1, strict=True)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, strict=True)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    n: Annotated[int, Field(ge=1, le=CHOICES, strict=True)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63, strict=True)] | None = None
    stop: (
        Annotated[str, Field(min_length=1, max_length=STOP_LENGTH)]
        | Annotated[list[Annotated[str, Field(min_length=1, max_length=STOP_LENGTH)]], Field(max_length=STOPS)]
        | None
    ) = None
    user: Annotated[str, Field(max_length=512)] | None = None


@dataclass(frozen=True, slots=True)
class Chat:
    """One chat request. None stands for what the client leaves to the model."""

    model: str
    messages: tuple[Message, ...]
    """The last one is the user's."""
    stream: bool = False
    usage_at_end: bool = False
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    n: int = 1
    seed: int | None = None
    stop: tuple[str, ...] = ()
    user: str = ""
    """Who asks, in the client's own words; it goes to the request log."""

    @property
    def example(self) -> Example:
        """The row that a Predictor answers: the last message is its input, the turns before it its history."""
        return Example(self.messages[-1].content, "", history=self.messages[:-1])


def read(raw: bytes) -> Chat:
    """The request in a body. Refused with 400, naming the parameter, where it asks for what is not there."""
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"the body is no JSON: {error}.", code="invalid_json") from error
    if not isinstance(content, dict):
        raise Refused(400, "the body is no JSON object.", code="invalid_json")
    try:
        body = _Body.model_validate(content)
    except ValidationError as error:
        raise _fault(error) from None
    for name, value in (body.model_extra or {}).items():
        if value is not None and not any(value == one and type(value) is type(one) for one in NEUTRAL.get(name, ())):
            raise Refused(400, f"{name!r} is not supported here; leave it out.", param=name, code="unsupported_parameter")
    return _chat(body)


def _fault(error: ValidationError) -> Refused:
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    top = str(first["loc"][0]) if first["loc"] else None
    return Refused(400, f"{place}: {first['msg']}.", param=top, code="invalid_value")


def _chat(body: _Body) -> Chat:
    if body.stream_options is not None and not body.stream:
        raise Refused(400, "'stream_options' goes with stream: true.", param="stream_options", code="invalid_value")
    if None not in (body.max_tokens, body.max_completion_tokens) and body.max_tokens != body.max_completion_tokens:
        raise Refused(400, "'max_tokens' and 'max_completion_tokens' differ; give one.", param="max_tokens", code="invalid_value")
    messages = tuple(_message(turn, place) for place, turn in enumerate(body.messages))
    if messages[-1].role != "user":
        raise Refused(400, "the last of 'messages' must be the user's.", param="messages", code="invalid_value")
    return Chat(
        body.model,
        messages,
        bool(body.stream),
        bool(body.stream_options and body.stream_options.include_usage),
        body.max_completion_tokens or body.max_tokens,
        body.temperature,
        body.top_p,
        body.n or 1,
        body.seed,
        (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ()),
        body.user or "",
    )


def _message(turn: _Turn, place: int) -> Message:
    for name, value in (turn.model_extra or {}).items():
        if value not in (None, [], {}):
            where = f"messages.{place}.{name}"
            raise Refused(400, f"{where!r} is not supported here; leave it out.", param="messages", code="unsupported_parameter")
    text = turn.content if isinstance(turn.content, str) else "".join(part.text for part in turn.content)
    return Message("system" if turn.role == "developer" else turn.role, text)
