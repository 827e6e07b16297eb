"""Answers that are calls of a task's tools: read from the text, each under an id of its own."""

from __future__ import annotations

import json
import secrets
import string
from dataclasses import replace

from rung import calls
from rung.serve.answering.job import Call, Outcome
from rung.serve.answering.models import Served
from rung.serve.endpoints.chat import Chat

ID, ALPHABET = 9, string.ascii_letters + string.digits
"""Characters of a call's id: some chat templates take no others, and no other number."""


def calls_tools(served: Served, chat: Chat) -> bool:
    """Whether the answer is calls of tools. With a schema of the client's own it is not."""
    return bool(served.tools and not chat.schema)


def with_calls(served: Served, chat: Chat, outcome: Outcome) -> Outcome:
    """The outcome with the calls that its text consists of; another one unchanged."""
    found = calls.read(outcome.text) if calls_tools(served, chat) else None
    if found is None:
        return outcome
    made = tuple(Call(_id(), one["name"], json.dumps(one["arguments"], ensure_ascii=False)) for one in found)
    return replace(outcome, text=calls.as_output(found), calls=made, finish="tool_calls" if made else outcome.finish)


def _id() -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(ID))
