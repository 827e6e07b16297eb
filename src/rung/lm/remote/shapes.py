"""What servers' answers look like: text, reasoning, tokens and bills read from the shapes that are met, and nothing made up."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rung import calls
from rung.lm.remote.ledger import Usage

MOST_TOKENS = 10**9
LEAST_LOG = -1000.0
"""Natural log-probabilities below it stand for `not known`: servers write -9999."""
CUT = ("length", "max_tokens", "model_length")
"""Why an answer ended that was cut."""

_BESIDE = tuple(re.split("[|]", "reasoning_content|reasoning|thinking"))
_TAGS = "think|thinking|thought|thoughts|reason|reasoning|reflection|seed:think|analysis"
_OPENING = re.compile(rf"\s*(?:<({_TAGS})>|\[(THINK)\]|(◁)think▷|<\|channel\|>(analysis)<\|message\|>)", re.IGNORECASE)
_CLOSING = re.compile(
    rf"</(?:{_TAGS})>|\[/THINK\]|◁/think▷|(?:<\|end\|>)?(?:<\|start\|>assistant)?<\|channel\|>final<\|message\|>", re.IGNORECASE
)
_FENCE = re.compile(r"\s*(?:```|~~~)[\w+-]*[ \t]*\n(.*?)\n?[ \t]*(?:```|~~~)\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class MessageContent:
    """What one message holds."""

    text: str
    """The answer without the reasoning before it."""
    thought: bool
    """Whether there was reasoning."""
    missing: str = ""
    """Why there is no answer at all, though the message is whole; empty where there is one."""


def message_content(choice: dict[str, Any], finish: str, held: bool = False) -> MessageContent:
    """The answer in one choice: `content` as text, as a list of parts or as JSON; else calls of tools; else reasoning.

    `held`: the answer was to be JSON of a schema, which some servers write as the arguments of a call.
    """
    message = choice.get("message", choice.get("delta"))
    if message is None and "text" in choice:  # the older interface
        message = {"content": choice["text"]}
    if isinstance(message, str):
        message = {"content": message}
    if not isinstance(message, dict):
        raise ValueError("a choice without a message")
    content, reasoning = flat(message.get("content")), reasoned(message)
    text, inner = unthought(content)
    thought = bool(reasoning or inner)
    if text.strip():
        return MessageContent(text.strip(), thought)
    if called := _called(message, held):
        return MessageContent(called, thought)
    if isinstance(refusal := message.get("refusal"), str) and refusal.strip():
        return MessageContent(refusal.strip(), thought)
    if finish == "content_filter":
        return MessageContent("", thought, "the server's filter withheld the answer.")
    if finish in CUT:
        return MessageContent("", thought)
    if reasoning.strip():  # some servers take the whole answer for reasoning
        return MessageContent(unthought(reasoning)[0].strip() or reasoning.strip(), True)
    if inner:
        return MessageContent("", True, "the answer holds reasoning and nothing else.")
    missing = "the answer has no content." if message.get("content") is None else ""
    return MessageContent("", thought, missing)


def flat(content: Any) -> str:
    """Content as text: that of its parts in order, reasoning left out; JSON that is no text as it is written."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(flat(part) for part in content)
    if isinstance(content, dict) and isinstance(content.get("text"), str):
        kind = str(content.get("type", "text"))
        return "" if any(word in kind for word in ("think", "reason")) else content["text"]
    if isinstance(content, dict) and "type" in content:
        return ""  # reasoning, an image, a call
    return json.dumps(content, ensure_ascii=False)


def reasoned(message: dict[str, Any]) -> str:
    """The reasoning that servers put beside the content."""
    found = (message.get(name) for name in _BESIDE)
    return next((text for text in found if isinstance(text, str) and text), "")


def unthought(text: str) -> tuple[str, bool]:
    """The text behind the reasoning that it begins with, and whether there was any. Without an end, all of it is reasoning."""
    opened, closed = _OPENING.match(text), _CLOSING.search(text)
    if closed and (opened or not re.search(rf"<(?:{_TAGS})>", text[: closed.start()], re.IGNORECASE)):
        rest = text[closed.end() :]
        return (unthought(rest)[0] if _OPENING.match(rest) else rest), True
    return ("", True) if opened else (text, False)


def answers(pieces: Iterator[str]) -> Iterator[str]:
    """The pieces of a text as they come, without the reasoning that it begins with."""
    held, open_ = "", False
    for piece in pieces:
        if open_:
            yield piece
            continue
        held += piece
        begun = held.lstrip()
        if begun and not begun.startswith(("<", "[", "◁")):
            open_ = True
        elif _OPENING.match(held):
            if not _CLOSING.search(held):
                continue
            held, open_ = unthought(held)[0].lstrip(), True
        elif len(begun) > 40:
            open_ = True
        if open_ and held:
            yield held
            held = ""
    if held and not open_ and (rest := unthought(held)[0]):
        yield rest


def unfenced(text: str) -> str:
    """What stands in a fence of code, where the text is that and nothing else."""
    found = _FENCE.fullmatch(text)
    return found[1].strip() if found else text


def _called(message: dict[str, Any], held: bool) -> str:
    """The arguments of the one call, where the answer was to be JSON; else the calls as the output of a row."""
    listed = message.get(calls.KEY)
    if not isinstance(listed, list) or not listed:
        return ""
    try:
        output = calls.as_output(listed)
    except ValueError:
        return ""
    given = calls.parse_output(output)
    if not held or len(given) != 1:
        return output
    arguments = given[0]["arguments"]
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


def first_choice(content: dict[str, Any]) -> dict[str, Any] | None:
    """The first choice of an answer, or the bare message where there is one; None where there is none."""
    choices = content.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        return choices[0]
    return {"message": content["message"]} if "choices" not in content and isinstance(content.get("message"), dict) else None


def finish(choice: dict[str, Any]) -> str:
    """Why the answer ended, as the server says; empty where it does not."""
    reason = choice.get("finish_reason") or choice.get("done_reason") or ""
    return reason if isinstance(reason, str) else ""


def usage(content: dict[str, Any]) -> Usage | None:
    """The bill; None where there is none, or one that cannot be: the tokens are then estimated."""
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
    return given if isinstance(given, int) and not isinstance(given, bool) and 0 <= given < MOST_TOKENS else None


def logs(choice: dict[str, Any]) -> tuple[tuple[str, float], ...]:
    """Tokens with their log-probabilities; empty where one is missing or cannot be: half of them would say something else."""
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
        if not LEAST_LOG < log <= 1e-6:  # NaN is not either
            return ()
        out.append((token, min(0.0, float(log))))
    return tuple(out)


def error(text: str) -> tuple[str, str]:
    """Code and message of an error's body, of whatever shape it is."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return "", text
    inner = found.get("error", found) if isinstance(found, dict) else found
    if isinstance(inner, dict):
        more = {name: inner[name] for name in ("param", "n_ctx", "n_prompt_tokens") if inner.get(name) is not None}
        told = inner.get("message") or inner.get("detail") or inner
        return str(inner.get("code") or inner.get("type") or ""), f"{told} {more}" if more else str(told)
    return "", str(inner)
