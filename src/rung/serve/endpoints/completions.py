"""/v1/completions: a text to continue. To a task's model the text is the row's input.

https://platform.openai.com/docs/api-reference/completions
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from rung.rows import Message
from rung.serve.answering.job import Outcome, Piece, TokenLogprob
from rung.serve.endpoints import reading
from rung.serve.endpoints.chat import Chat, StreamOptions, usage_at_end
from rung.serve.endpoints.reading import Choices, Seed, Stop, Temperature, Tokens, TopP, User, invalid
from rung.serve.endpoints.refused import Refused
from rung.serve.endpoints.wire import DONE, LOWEST, Head, about, event, usage

PROMPTS = 16
"""Most texts of one request."""

NEUTRAL: reading.Neutral = {
    "best_of": (1,),
    "echo": (False,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "suffix": ("",),
}

Text = Annotated[str, Field(min_length=1)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="allow")
    model: str
    prompt: Text | Annotated[list[Text], Field(min_length=1, max_length=PROMPTS)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Tokens | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    n: Choices | None = None
    seed: Seed | None = None
    stop: Stop | None = None
    user: User | None = None
    logprobs: Annotated[int, Field(ge=0, le=5, strict=True)] | None = None


@dataclass(frozen=True, slots=True)
class TextsAsked:
    """Texts to continue."""

    chats: tuple[Chat, ...]
    prefix = "cmpl-"
    operation = "text_completion"

    def whole(self, head: Head, outcomes: Sequence[Sequence[Outcome]]) -> dict[str, Any]:
        """Choice k * n + i is answer i to prompt k."""
        flat = [one for each in outcomes for one in each]
        wanted = self.chats[0].logprobs is not None
        choices = [_choice(k, one.text, one.finish, one if wanted else None) | about(one) for k, one in enumerate(flat)]
        return {**head.of("text_completion"), "choices": choices, "usage": usage(outcomes)}

    def writing(self, head: Head) -> TextWriting:
        return TextWriting(self.chats[0], head)


@dataclass(frozen=True, slots=True)
class TextWriting:
    """A stream of text chunks."""

    chat: Chat
    head: Head

    def begin(self) -> Iterable[str]:
        return ()

    def piece(self, piece: Piece) -> Iterator[str]:
        yield self._chunk(_choice(piece.index, piece.text, None))

    def end(self, outcomes: Sequence[Outcome]) -> Iterator[str]:
        for k, one in enumerate(outcomes):
            text = "" if one.calls is None else one.text  # calls are no pieces
            yield self._chunk(_choice(k, text, one.finish, one if self.chat.logprobs is not None else None) | about(one))
        if self.chat.usage_at_end:
            yield event({**self.head.of("text_completion"), "choices": [], "usage": usage([outcomes])})
        yield DONE

    def broken(self, why: Refused) -> Iterator[str]:
        yield event(why.body)

    def _chunk(self, choice: dict[str, Any]) -> str:
        return event({**self.head.of("text_completion"), "choices": [choice]})


def read(raw: bytes) -> TextsAsked:
    """A body of /v1/completions. Refused with 400, naming the parameter, where it asks for what is not there."""
    body = reading.read(raw, _Body, NEUTRAL)
    prompts = [body.prompt] if isinstance(body.prompt, str) else body.prompt
    if body.stream and len(prompts) > 1:
        raise invalid("prompt", "one 'prompt' is streamed at a time.")
    return TextsAsked(
        tuple(
            Chat(
                body.model,
                (Message("user", text),),
                bool(body.stream),
                usage_at_end(body.stream, body.stream_options),
                body.max_tokens,
                body.temperature,
                body.top_p,
                body.n or 1,
                body.seed,
                reading.stops(body.stop),
                body.user or "",
                raw=True,
                logprobs=body.logprobs,
            )
            for text in prompts
        )
    )


def _choice(index: int, text: str, finish: str | None, noted: Outcome | None = None) -> dict[str, Any]:
    finish = "stop" if finish == "tool_calls" else finish  # here calls are text
    return {"index": index, "text": text, "finish_reason": finish, "logprobs": _logprobs(noted.logprobs) if noted else None}


def _logprobs(tokens: Sequence[TokenLogprob]) -> dict[str, Any]:
    """Four lists with an entry for each token."""
    ends = [0, *accumulate(len(one.text) for one in tokens)]
    return {
        "tokens": [one.text for one in tokens],
        "token_logprobs": [max(one.logprob, LOWEST) for one in tokens],
        "top_logprobs": [{text: max(log, LOWEST) for text, log in one.top} for one in tokens],
        "text_offset": ends[:-1],
    }
