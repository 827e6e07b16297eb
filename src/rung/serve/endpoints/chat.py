"""A request for text, and the body of a chat request that asks for one.

https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from rung.lm.base import Prompt
from rung.rows import Example, Message
from rung.serve.endpoints import reading, schemas, tool_turns
from rung.serve.endpoints.reading import CHOICES, Choices, Seed, Stop, Temperature, Tokens, TopLogprobs, TopP, User, invalid
from rung.serve.endpoints.refused import Refused

__all__ = ["CHOICES", "Chat", "read"]

MESSAGES = 1000
"""Most messages of one request."""
TOOLS = 1000
"""Most tools of one request."""

NEUTRAL: reading.Neutral = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "store": (False,),
    "functions": ([],),
    "service_tier": ("auto", "default"),
}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")
    type: Literal["text"]
    text: str


class _Turn(BaseModel):
    model_config = ConfigDict(extra="allow")
    role: Literal["system", "developer", "user"]
    content: str | list[_Part]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="allow")
    role: Literal["assistant"]
    content: str | list[_Part] | None = None
    tool_calls: list[tool_turns.Called] | None = None


class _Result(BaseModel):
    model_config = ConfigDict(extra="allow")
    role: Literal["tool"]
    content: str | list[_Part]
    tool_call_id: str


_AnyTurn = Annotated[_Turn | _Answer | _Result, Field(discriminator="role")]


class StreamOptions(BaseModel):
    """What else a stream is asked for."""

    model_config = ConfigDict(extra="forbid")
    include_usage: bool | None = None
    include_obfuscation: Literal[False] | None = None


class _Body(BaseModel):
    model_config = ConfigDict(extra="allow")
    model: str
    messages: Annotated[list[_AnyTurn], Field(min_length=1, max_length=MESSAGES)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    n: Choices | None = None
    seed: Seed | None = None
    stop: Stop | None = None
    user: User | None = None
    response_format: schemas.Form | None = None
    logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = None
    tools: Annotated[list[tool_turns.Tool], Field(max_length=TOOLS)] | None = None
    tool_choice: tool_turns.Mode | tool_turns.NamedTool | None = None
    parallel_tool_calls: bool | None = None


@dataclass(frozen=True, slots=True)
class Chat:
    """One request for text. None stands for what the client leaves to the model."""

    model: str
    messages: tuple[Message, ...]
    """The last one is the user's, or the result of a tool that was called for the user's last one."""
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
    schema: str = ""
    """A JSON schema, as text, that the answer follows; empty for free text."""
    logprobs: int | None = None
    """Likeliest tokens (of a label model: labels) that are wanted beside each one with its log-probability; None for none."""
    raw: bool = False
    """The message is a text to continue: an untouched base then goes on with it, without a chat around it."""
    tools: tool_turns.ToolRequest = tool_turns.ToolRequest()

    @property
    def example(self) -> Example:
        """The row that a Predictor answers: the user's last message is its input, with the turns before and after it."""
        asked = max(place for place, turn in enumerate(self.messages) if turn.role == "user")
        before, after = self.messages[:asked], self.messages[asked + 1 :]
        return Example(self.messages[asked].content, "", history=before, after=after)

    @property
    def prompt(self) -> Prompt:
        """What an untouched base is asked."""
        text = self.example.input
        return Prompt((), text, begun=text) if self.raw else Prompt(self.messages, text)


def read(raw: bytes) -> Chat:
    """The request in a body. Refused with 400, naming the parameter, where it asks for what is not there."""
    return _chat(reading.read(raw, _Body, NEUTRAL))


def _chat(body: _Body) -> Chat:
    if None not in (body.max_tokens, body.max_completion_tokens) and body.max_tokens != body.max_completion_tokens:
        raise invalid("max_tokens", "'max_tokens' and 'max_completion_tokens' differ; give one.")
    messages = tuple(_message(turn, place) for place, turn in enumerate(body.messages))
    tool_turns.check_turns(messages, "messages")
    return Chat(
        body.model,
        messages,
        bool(body.stream),
        usage_at_end(body.stream, body.stream_options),
        body.max_completion_tokens or body.max_tokens,
        body.temperature,
        body.top_p,
        body.n or 1,
        body.seed,
        reading.stops(body.stop),
        body.user or "",
        schema=schemas.schema(body.response_format, "response_format"),
        logprobs=_logprobs(body),
        tools=tool_turns.request(body.tools, body.tool_choice, body.parallel_tool_calls),
    )


def _logprobs(body: _Body) -> int | None:
    if body.top_logprobs and not body.logprobs:
        raise invalid("top_logprobs", "'top_logprobs' goes with logprobs: true.")
    return (body.top_logprobs or 0) if body.logprobs else None


def usage_at_end(stream: bool | None, options: StreamOptions | None) -> bool:
    """Whether a stream ends with its usage. Refused for options without a stream."""
    if options is not None and not stream:
        raise invalid("stream_options", "'stream_options' goes with stream: true.")
    return bool(options and options.include_usage)


def _message(turn: _Turn | _Answer | _Result, place: int) -> Message:
    for name, value in (turn.model_extra or {}).items():
        if value not in (None, [], {}):
            where = f"messages.{place}.{name}"
            raise Refused(400, f"{where!r} is not supported here; leave it out.", param="messages", code="unsupported_parameter")
    text = turn.content if isinstance(turn.content, str) else "".join(part.text for part in turn.content or ())
    if isinstance(turn, _Result):
        return tool_turns.result(text, turn.tool_call_id)
    if isinstance(turn, _Answer) and turn.tool_calls:
        return tool_turns.calling(text, turn.tool_calls)
    if turn.content is None:
        raise invalid("messages", f"messages.{place} has neither content nor tool_calls.")
    return Message("system" if turn.role == "developer" else turn.role, text)
