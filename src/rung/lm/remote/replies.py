"""Parses servers' replies: text, reasoning, tokens and usage, in the formats that servers use in practice."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rung import calls
from rung.lm.remote.ledger import Usage

MAX_TOKENS = 10**9
MIN_LOGPROB = -1000.0
"""Natural log-probabilities below this mean `unknown`: servers send -9999."""
CUT = ("length", "max_tokens", "model_length")
"""Finish reasons of truncated answers."""

_REASONING_FIELDS = tuple(re.split("[|]", "reasoning_content|reasoning|thinking"))
_TAGS = "think|thinking|thought|thoughts|reason|reasoning|reflection|seed:think|analysis"
_OPENING = re.compile(rf"\s*(?:<({_TAGS})>|\[(THINK)\]|(◁)think▷|<\|channel\|>(analysis)<\|message\|>)", re.IGNORECASE)
_CLOSING = re.compile(
    rf"</(?:{_TAGS})>|\[/THINK\]|◁/think▷|(?:<\|end\|>)?(?:<\|start\|>assistant)?<\|channel\|>final<\|message\|>", re.IGNORECASE
)
_FENCE = re.compile(r"\s*(?:```|~~~)[\w+-]*[ \t]*\n(.*?)\n?[ \t]*(?:```|~~~)\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class MessageContent:
    """The content of one message."""

    text: str
    """The answer without the reasoning before it."""
    thought: bool
    """Whether the message has reasoning."""
    missing: str = ""
    """Why a complete message has no answer; empty if it has one."""


def message_content(choice: dict[str, Any], finish: str, constrained: bool = False) -> MessageContent:
    """The answer in one choice: `content` as text, as a list of parts or as JSON; else tool calls; else reasoning.

    `constrained`: a JSON schema was requested, which some servers answer as the arguments of a tool call.
    """
    message = choice.get("message", choice.get("delta"))
    if message is None and "text" in choice:  # the legacy completions API
        message = {"content": choice["text"]}
    if isinstance(message, str):
        message = {"content": message}
    if not isinstance(message, dict):
        raise ValueError("a choice without a message")
    content, reasoning = as_text(message.get("content")), reasoning_of(message)
    text, inner = strip_reasoning(content)
    thought = bool(reasoning or inner)
    if text.strip():
        return MessageContent(text.strip(), thought)
    if called := _called(message, constrained):
        return MessageContent(called, thought)
    if isinstance(refusal := message.get("refusal"), str) and refusal.strip():
        return MessageContent(refusal.strip(), thought)
    if finish == "content_filter":
        return MessageContent("", thought, "the server's filter withheld the answer.")
    if finish in CUT:
        return MessageContent("", thought)
    if reasoning.strip():  # some servers send the whole answer as reasoning
        return MessageContent(strip_reasoning(reasoning)[0].strip() or reasoning.strip(), True)
    if inner:
        return MessageContent("", True, "the answer holds reasoning and nothing else.")
    missing = "the answer has no content." if message.get("content") is None else ""
    return MessageContent("", thought, missing)


def as_text(content: Any) -> str:
    """Content as text: its text parts in order, without reasoning; other JSON as it is."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(as_text(part) for part in content)
    if isinstance(content, dict) and isinstance(content.get("text"), str):
        kind = str(content.get("type", "text"))
        return "" if any(word in kind for word in ("think", "reason")) else content["text"]
    if isinstance(content, dict) and "type" in content:
        return ""  # reasoning, an image, a call
    return json.dumps(content, ensure_ascii=False)


def reasoning_of(message: dict[str, Any]) -> str:
    """The reasoning in a field of its own."""
    found = (message.get(name) for name in _REASONING_FIELDS)
    return next((text for text in found if isinstance(text, str) and text), "")


def strip_reasoning(text: str) -> tuple[str, bool]:
    """The text after its leading reasoning, and whether there was any. Without an end tag all of it is reasoning."""
    opened, closed = _OPENING.match(text), _CLOSING.search(text)
    if closed and (opened or not re.search(rf"<(?:{_TAGS})>", text[: closed.start()], re.IGNORECASE)):
        rest = text[closed.end() :]
        return (strip_reasoning(rest)[0] if _OPENING.match(rest) else rest), True
    return ("", True) if opened else (text, False)


def strip_reasoning_stream(pieces: Iterator[str]) -> Iterator[str]:
    """The pieces of a text as they arrive, without its leading reasoning."""
    buffer, open_ = "", False
    for piece in pieces:
        if open_:
            yield piece
            continue
        buffer += piece
        begun = buffer.lstrip()
        if begun and not begun.startswith(("<", "[", "◁")):
            open_ = True
        elif _OPENING.match(buffer):
            if not _CLOSING.search(buffer):
                continue
            buffer, open_ = strip_reasoning(buffer)[0].lstrip(), True
        elif len(begun) > 40:
            open_ = True
        if open_ and buffer:
            yield buffer
            buffer = ""
    if buffer and not open_ and (rest := strip_reasoning(buffer)[0]):
        yield rest


def strip_code_fence(text: str) -> str:
    """The content of a code fence, if the text is only that fence."""
    found = _FENCE.fullmatch(text)
    return found[1].strip() if found else text


def _called(message: dict[str, Any], constrained: bool) -> str:
    """The arguments of a single call if JSON was requested; else the calls as a row's output."""
    listed = message.get(calls.KEY)
    if not isinstance(listed, list) or not listed:
        return ""
    try:
        output = calls.as_output(listed)
    except ValueError:
        return ""
    given = calls.parse_output(output)
    if not constrained or len(given) != 1:
        return output
    arguments = given[0]["arguments"]
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


def first_choice(content: dict[str, Any]) -> dict[str, Any] | None:
    """The first choice of a reply, or its bare message; None if there is neither."""
    choices = content.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        return choices[0]
    return {"message": content["message"]} if "choices" not in content and isinstance(content.get("message"), dict) else None


def finish(choice: dict[str, Any]) -> str:
    """The finish reason; empty if the server sends none."""
    reason = choice.get("finish_reason") or choice.get("done_reason") or ""
    return reason if isinstance(reason, str) else ""


def usage(content: dict[str, Any]) -> Usage | None:
    """The usage; None if it is missing or impossible: tokens are then estimated."""
    found = content.get("usage")
    if not isinstance(found, dict):
        return None
    details = found.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    counts = [_count(found.get("prompt_tokens")), _count(found.get("completion_tokens") or 0), _count(cached or 0)]
    if any(count is None for count in counts) or not any(counts):
        return None
    read, written, cheap = (count or 0 for count in counts)
    return Usage(read, written, min(cheap, read))


def _count(given: Any) -> int | None:
    if isinstance(given, float) and given.is_integer():
        given = int(given)
    return given if isinstance(given, int) and not isinstance(given, bool) and 0 <= given < MAX_TOKENS else None


def token_logprobs(choice: dict[str, Any]) -> tuple[tuple[str, float], ...]:
    """Tokens with their log-probabilities; empty if any is missing or impossible: a partial list would be misleading."""
    found = choice.get("logprobs")
    if not isinstance(found, dict):
        return ()
    if isinstance(found.get("content"), list):
        pairs = [(one.get("token"), one.get("logprob")) if isinstance(one, dict) else (None, None) for one in found["content"]]
    elif isinstance(found.get("tokens"), list) and isinstance(found.get("token_logprobs"), list):
        pairs = list(zip(found["tokens"], found["token_logprobs"]))
    else:
        return ()
    out = []
    for token, log in pairs:
        if not isinstance(token, str) or not isinstance(log, float | int) or isinstance(log, bool):
            return ()
        if not MIN_LOGPROB < log <= 1e-6:  # excludes NaN
            return ()
        out.append((token, min(0.0, float(log))))
    return tuple(out)


def error(text: str) -> tuple[str, str]:
    """Code and message of an error body, in any format."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return "", text
    inner = found.get("error", found) if isinstance(found, dict) else found
    if isinstance(inner, dict):
        more = {name: inner[name] for name in ("param", "n_ctx", "n_prompt_tokens") if inner.get(name) is not None}
        message = inner.get("message") or inner.get("detail") or inner
        return str(inner.get("code") or inner.get("type") or ""), f"{message} {more}" if more else str(message)
    return "", str(inner)
