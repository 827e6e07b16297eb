"""Answers in the shape of OpenAI's API, whole and as server-sent events.

What goes beyond that shape is under `rung`: of a choice `confidence`, `citations`, `abstained`, `messages_read`; of a model
its rung and a notice.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from rung.serve.chat import Chat
from rung.serve.job import Outcome
from rung.serve.models import Served

DONE = "data: [DONE]\n\n"


def usage(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Tokens of a request: its prompt counted once, all answers to it together."""
    read, written = max(one.tokens_in for one in outcomes), sum(one.tokens_out for one in outcomes)
    cached = max(one.tokens_cached for one in outcomes)
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def completion(name: str, created: int, chat: Chat, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """https://platform.openai.com/docs/api-reference/chat/object"""
    choices = [
        {
            "index": k,
            "message": {"role": "assistant", "content": one.text, "refusal": None},
            "finish_reason": one.finish,
            "logprobs": None,
            **_about(one),
        }
        for k, one in enumerate(outcomes)
    ]
    return {**_head(name, created, chat, "chat.completion"), "choices": choices, "usage": usage(outcomes)}


def delta(name: str, created: int, chat: Chat, index: int, text: str, first: bool) -> dict[str, Any]:
    """A chunk of an answer. https://platform.openai.com/docs/api-reference/chat/streaming"""
    said = {"role": "assistant", "content": text} if first else {"content": text}
    choice = {"index": index, "delta": said, "finish_reason": None, "logprobs": None}
    return {**_head(name, created, chat, "chat.completion.chunk"), "choices": [choice]}


def ends(name: str, created: int, chat: Chat, outcomes: Sequence[Outcome]) -> Iterable[dict[str, Any]]:
    """The last chunk of each answer, and the usage where it was asked for."""
    head = _head(name, created, chat, "chat.completion.chunk")
    for k, one in enumerate(outcomes):
        yield {**head, "choices": [{"index": k, "delta": {}, "finish_reason": one.finish, "logprobs": None, **_about(one)}]}
    if chat.usage_at_end:
        yield {**head, "choices": [], "usage": usage(outcomes)}


def event(value: dict[str, Any]) -> str:
    """A server-sent event."""
    return f"data: {json.dumps(value)}\n\n"


def model(served: Served) -> dict[str, Any]:
    """https://platform.openai.com/docs/api-reference/models/object"""
    about = {"rung": served.rung or None, "notice": served.notice or None, "base": served.model.name}
    return {"id": served.name, "object": "model", "created": 0, "owned_by": "rung", "rung": about}


def _head(name: str, created: int, chat: Chat, kind: str) -> dict[str, Any]:
    return {"id": name, "object": kind, "created": created, "model": chat.model}


def _about(outcome: Outcome) -> dict[str, Any]:
    return {"rung": outcome.about} if outcome.about else {}
