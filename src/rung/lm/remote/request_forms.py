"""Request forms: parts that a server refuses are dropped or rewritten; each server's form is found once."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from rung import calls
from rung.types import Message

ROLES = "roles"
"""A form with only alternating user and assistant turns; the system message opens the first user turn."""
REASONS = "thinks"
"""A form with extra tokens for a model that reasons before it answers."""

_NAMES: dict[str, tuple[str, ...]] = {
    "logprobs": ("logprobs", "log_probs", "log probabilities"),
    "response_format": ("response_format", "json_schema", "guided", "grammar", "structured output", "json mode", "output format"),
    "seed": ("seed",),
    "top_p": ("top_p",),
    "temperature": ("temperature",),
    "tools": ("tools", "tool choice", "tool_choice", "tool-choice", "tool use", "function call", "functions"),
    "stream_options": ("stream_options", "include_usage"),
}
"""Optional parameters that servers may refuse, and their names in error messages."""
_ROLES = re.compile(
    r"\bsystem\b.{0,60}\b(?:role|messages?|prompts?|turn|instruction)|\broles?\b.{0,60}\bsystem\b|\bsystem\b.{0,40}support"
    r"|\btools?\b.{0,40}\b(?:role|message|call_id)|tool_call"
    r"|\balternat|only user|(?:invalid|unknown|unsupported|unexpected|unrecognized) role|developer instruction",
    re.IGNORECASE | re.DOTALL,
)
_CONTEXT = re.compile(
    r"(?:context[ _]?(?:length|size|window|limit)|n_ctx|max_model_len"
    r"|max(?:imum)?[ _](?:sequence|model|total|input)[ _](?:length|tokens?))\D{0,40}?(\d{2,9})|(\d{2,9})[- ]tokens? context",
    re.IGNORECASE,
)
_READ = re.compile(
    r"(\d+) (?:(?:input|prompt) tokens|tokens? in the (?:messages|prompt|input)|in the (?:messages|prompt|input)|tokens? from)"
    r"|(?:prompt|input|messages?)\b[^.\d]{0,40}?(\d+) tokens|n_prompt_tokens\D{1,4}(\d+)",
    re.IGNORECASE,
)
_MOST = re.compile(
    r"(?:at most|maximum(?: of)?|up to|limit(?:ed to)?|max(?:imum)? value is|<=)\D{0,12}(\d+)\D{0,24}(?:completion|output|token)"
)


def turns(messages: Sequence[Message], form: frozenset[str]) -> list[dict[str, Any]]:
    """The messages in the API's form.

    A tool result is a turn of its own only after the call it answers, as servers require; otherwise it becomes a user turn.
    Tools are a parameter of their own (`tools`); to a server that refuses it they are listed in the system message.
    """
    called: set[str] = set()
    out = []
    for message in messages:
        if message.role == calls.TOOLS and calls.TOOLS not in form:
            continue
        out.append(_native(message.fields, called) if ROLES not in form else _plain(message.fields))
    return _folded(out) if ROLES in form else _one_system_message(out)


def tools(messages: Sequence[Message]) -> list[Any]:
    """The tools that the messages name, for the API's parameter."""
    return [one for message in messages if message.role == calls.TOOLS for one in json.loads(message.content)]


def _native(fields: dict[str, Any], called: set[str]) -> dict[str, Any]:
    """One message; `called`: ids of the calls so far."""
    if fields["role"] == "assistant" and fields.get(calls.KEY):
        found = [one.get("id") for one in fields[calls.KEY] if isinstance(one, dict)]
        ids = [one for one in found if isinstance(one, str) and one]
        if len(ids) < len(found):
            return _plain(fields)
        called.update(ids)
        return calls.for_api(fields)
    if fields["role"] == "tool" and fields.get("tool_call_id") in called:
        return fields
    return _plain(fields)


def _plain(fields: dict[str, Any]) -> dict[str, Any]:
    """A message as plain text."""
    role, content = fields["role"], fields["content"]
    if fields.get(calls.KEY):
        words = json.dumps({calls.KEY: fields[calls.KEY]}, ensure_ascii=False)
        content = f"{content}\n{words}" if content else words
    if role == calls.TOOLS:
        how = 'Call them with JSON alone: [{"name": …, "arguments": {…}}].'
        return {"role": "system", "content": f"Tools that may be called, as JSON:\n{content}\n{how}"}
    if role in ("system", "user", "assistant"):
        return {"role": role, "content": content}
    return {"role": "system", "content": content} if role == "developer" else {"role": "user", "content": f"[{role}]\n{content}"}


def _one_system_message(turns: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same with leading system messages merged into one."""
    front = next((at for at, turn in enumerate(turns) if turn["role"] != "system"), len(turns))
    first = "\n\n".join(turn["content"] for turn in turns[:front])
    return [*([{"role": "system", "content": first}] if front else []), *turns[front:]]


def _folded(turns: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    first = "\n\n".join(turn["content"] for turn in turns if turn["role"] == "system" and turn["content"])
    out: list[dict[str, Any]] = [{"role": "user", "content": first}] if first else []
    for turn in turns:
        if turn["role"] == "system":
            continue
        if out and out[-1]["role"] == turn["role"]:
            out[-1]["content"] += f"\n\n{turn['content']}"
        else:
            out.append(dict(turn))
    return out


def named_by_refusal(body: dict[str, Any], words: str) -> frozenset[str]:
    """The parts of a request that a refusal names."""
    small = words.lower()
    found = {name for name, spelt in _NAMES.items() if name in body and any(word in small for word in spelt)}
    if "max_tokens" in body and "max_tokens" in small and context_of(words) is None and not _MOST.search(small):
        found.add("max_tokens")
    if "response_format" in found and "logprobs" in body and "logprobs" not in small:
        found.discard("logprobs")
    if not found and foldable(body) and _ROLES.search(words):
        found.add(ROLES)
    return frozenset(found)


def unconfirmed(body: dict[str, Any]) -> frozenset[str]:
    """The parts of a request that a server may refuse without naming them."""
    roles = frozenset({ROLES}) if foldable(body) else frozenset()
    return frozenset({"response_format", "logprobs", "stream_options", "tools"}).intersection(body) | roles


def guesses(doubts: frozenset[str]) -> list[frozenset[str]]:
    """Parts to drop, one set after another, after a refusal that names nothing; the least important first."""
    parameters, roles = doubts - {ROLES}, doubts & {ROLES}
    return [one for one in dict.fromkeys((parameters, roles, parameters | roles)) if one]


def foldable(body: dict[str, Any]) -> bool:
    """Whether folding would change the messages."""
    turns = body["messages"]
    return any(turn["role"] not in ("user", "assistant") for turn in turns) or _folded(turns) != turns


def context_of(words: str) -> int | None:
    """The server's context length in a refusal, in tokens; None if it states none."""
    found = _CONTEXT.search(words)
    return int(next(filter(None, found.groups()))) if found else None


def allowed_tokens(words: str, requested: int, prompt: int) -> int | None:
    """The tokens that an answer may have according to a refusal; None if it states no limit.

    `requested`: tokens requested. `prompt`: estimated tokens of the prompt, for servers that do not report them.
    """
    context = context_of(words)
    if context is None:
        most = _MOST.search(words.lower())
        return int(most[1]) if most and "token" in words.lower() and 0 < int(most[1]) < requested else None
    read = _READ.search(words)
    used = int(next(filter(None, read.groups()))) if read else prompt
    remaining = context - used
    return remaining if remaining < requested else requested // 2
