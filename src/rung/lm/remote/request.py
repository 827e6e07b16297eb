"""One question to an endpoint, and the form in which it is sent."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from rung import calls
from rung.lm.base import Decoding, Prompt
from rung.lm.remote import label_matching, request_forms, tokens
from rung.lm.remote.ledger import Usage
from rung.lm.remote.wire import Reply
from rung.types import Message

REASONING_TOKENS = 4096
"""Extra tokens for a model that reasons before it answers. Such models refuse `max_tokens`."""

LABEL_OVERHEAD = 32
"""Tokens of an answer besides the label: JSON, quotes, the end token."""

GO_ON = "Go on from there. Do not repeat what is already said."


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt, the decoding of its answer, and the labels it may be; empty for free text."""

    prompt: Prompt
    decoding: Decoding
    labels: tuple[str, ...] = ()


def as_turns(prompt: Prompt) -> Prompt:
    """The beginning of an answer as a turn of its own: chat APIs cannot continue a partial answer."""
    if not prompt.begun:
        return prompt
    turns = (*prompt.messages, Message("assistant", prompt.begun), Message("user", GO_ON))
    return replace(prompt, messages=turns, begun="")


@dataclass(frozen=True, slots=True)
class Request:
    """A question in the form that is being tried."""

    question: Question
    form: frozenset[str]
    limit: int
    """Most tokens of the answer."""
    most: int = 0
    """The context length in tokens; 0 if unknown."""
    clamps: int = 0
    before: frozenset[str] = frozenset()
    """The form before the first guess."""
    guesses: list[frozenset[str]] | None = None
    """Guesses still to try after a refusal that names nothing; None before that."""
    last: bool = False
    """Whether the server's next refusal is final."""

    @property
    def tokens(self) -> int:
        left = self.most - tokens.estimate(self.question.prompt) if self.most else self.limit
        return self.limit if self.clamps else max(1, min(self.limit, left))

    def with_form(self, more: frozenset[str]) -> Request:
        """The same question with this form added."""
        form = self.form | more
        return replace(self, form=form, limit=max_tokens(self.question, form))

    def needs_more(self, reply: Reply) -> bool:
        """Whether the answer was truncated during reasoning, before extra tokens were requested."""
        return bool(reply.unanswered and reply.thought and not reply.finished) and not _reasons(self.form) and not self.clamps

    def body(self, model: str) -> dict[str, Any]:
        """The JSON that is sent, in the form that is being tried."""
        question, form = self.question, self.form
        decoding = question.decoding
        sent: dict[str, Any] = {
            "model": model,
            "messages": request_forms.turns(question.prompt.messages, form),
            "temperature": decoding.temperature,
            "seed": decoding.seed,
        }
        if decoding.top_p < 1:
            sent["top_p"] = decoding.top_p
        if question.labels:
            sent |= {"response_format": label_matching.label_format(question.labels), "logprobs": True}
        elif tools := [] if calls.TOOLS in form else request_forms.tools(question.prompt.messages):
            sent["tools"] = tools
        elif decoding.schema:
            sent["response_format"] = label_matching.schema_format(json.loads(decoding.schema))
        sent = {name: value for name, value in sent.items() if name not in form}
        return sent | {"max_completion_tokens" if "max_tokens" in form else "max_tokens": self.tokens}


def _reasons(form: frozenset[str]) -> bool:
    return bool(form & {"max_tokens", request_forms.REASONS})


def max_tokens(question: Question, form: frozenset[str]) -> int:
    return question.decoding.max_new_tokens + (REASONING_TOKENS if _reasons(form) else 0)


def bounds(asking: Request) -> tuple[Usage, Usage]:
    """Estimated tokens, and upper bounds."""
    prompt, limit = asking.question.prompt, asking.tokens
    return Usage(tokens.estimate(prompt), limit), Usage(tokens.bound(prompt, asking.question.labels), limit)
