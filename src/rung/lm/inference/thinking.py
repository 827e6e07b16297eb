"""Answers that are given after reasoning: what is written first, the mark behind which the answer stands, the vote of several.

Chain of thought: https://arxiv.org/abs/2201.11903; the vote, self-consistency: https://arxiv.org/abs/2203.11171. Two passes:
the reasoning is written, then the answer is chosen among the labels behind it, or, where the mark was not reached, written
behind it. So there is always an answer, and a label is always one of the labels.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rung.lm.base import Choice, Completion, Decoding, Engine, Prompt, ScoresLabels
from rung.types import Prediction

if TYPE_CHECKING:
    from rung.lm.models.chat import Chat

MARK = "Answer:"
"""Stands on a line of its own before the answer."""


@dataclass(frozen=True, slots=True)
class Thinking:
    """How to reason before answering."""

    rule: str
    """What the instruction says about it."""
    column: str
    """Of a row's other columns, the one with its reasoning."""
    opening: str = ""
    """What the reasoning begins with."""
    tokens: int = 256
    """Tokens that it may have before it is cut."""
    samples: int = 1
    """How many are drawn to a row. One is the likeliest (greedy); of several the most frequent answer is taken."""
    temperature: float = 0.7
    """At which several are drawn."""


@dataclass(frozen=True, slots=True)
class Thought:
    """One row's answer, and what led to it."""

    output: str
    confidence: float | None
    trace: str
    """The reasoning that led to it; of several the first that did."""
    asked: tuple[Completion | Choice, ...]
    """All that was written and chosen on the way, for what it took."""


def turn(trace: str, answer: str) -> str:
    """A whole answer: the reasoning, the mark, and what stands behind it."""
    return "\n".join([*([trace] if trace else []), MARK, answer])


def split(text: str) -> tuple[str, str]:
    """What was written as reasoning and answer: before the first mark, and behind it up to the next; no mark, no answer."""
    parts = re.split(rf"^[ \t*#>_]*{MARK}[*_]*", text, flags=re.MULTILINE | re.IGNORECASE)
    return parts[0].strip(), parts[1].strip() if len(parts) > 1 else ""


def behind(
    engine: Engine, prompts: Sequence[Prompt], how: Thinking, decoding: Decoding, room: int, whole: bool = True
) -> list[Written]:
    """Write `how.samples` reasonings to each prompt, those of a prompt side by side.

    `room`: tokens of an answer, all of which are kept free behind the reasoning where it must be `whole`; else it shares
    with the reasoning what the prompt leaves of the context.
    """
    drawn = [replace(prompt, begun=how.opening, draw=k) for prompt in prompts for k in range(how.samples)]
    heat = how.temperature if how.samples > 1 else 0.0
    freely = replace(decoding, max_new_tokens=how.tokens + room, temperature=heat, schema="")
    found = engine.generate(drawn, freely)
    out = []
    for prompt, completion in zip(drawn, found):
        trace, answer = split(f"{how.opening} {completion.text}".strip())
        begun = replace(prompt, begun=turn(trace, ""))
        free = room if whole else min(room, max(1, (engine.context - engine.count(prompt)) // 2))
        while trace and engine.count(begun) + free > engine.context:  # a text may have more tokens than were written
            trace = trace[: len(trace) // 2]
            begun = replace(prompt, begun=turn(trace, ""))
        out.append(Written(begun, trace, answer, completion))
    return out


@dataclass(frozen=True, slots=True)
class Written:
    """Reasoning to a prompt, and the prompt with it: what comes next is the answer."""

    prompt: Prompt
    trace: str
    answer: str
    """What was written behind the mark; empty where the mark was not reached."""
    completion: Completion


def think(
    engine: Engine,
    prompts: Sequence[Prompt],
    how: Thinking,
    labels: Sequence[str],
    decoding: Decoding,
    bias: Sequence[float] = (),
) -> list[Thought]:
    """Answer each prompt after reasoning: with one of the labels, or in free text where there are none."""
    room = label_room(labels) if labels else decoding.max_new_tokens
    written = behind(engine, prompts, how, decoding, room, bool(labels))
    ended: list[Choice | Completion | None] = [None] * len(written)
    held = bool(labels or decoding.schema)
    ask = [i for i, one in enumerate(written) if not one.completion.error and (held or not one.answer)]
    for i, answer in zip(ask, _asked(engine, [written[i].prompt for i in ask], labels, decoding, bias)):
        ended[i] = answer
    size = how.samples
    return [_voted(written[i : i + size], ended[i : i + size]) for i in range(0, len(written), size)]


def prediction(one: Thought) -> Prediction:
    """A row's answer and all that it took. Calls that failed are told only where no answer came of the others."""
    failed = next((call.error for call in one.asked if call.error), "")
    return Prediction(
        "",
        one.output,
        one.confidence,
        sum(call.tokens_in for call in one.asked),
        sum(call.tokens_out for call in one.asked),
        sum(call.seconds for call in one.asked),
        "" if one.output else failed,
        sum(call.tokens_cached for call in one.asked),
        again=not one.output and any(call.error and not call.final for call in one.asked),
    )


def label_room(labels: Sequence[str], chat: Chat | None = None) -> int:
    """Tokens that the longest label takes, as the chat's model writes it.

    Without a chat at most: one a byte, one for a blank that some tokenizers put in front, and its end.
    """
    return max(len(chat.answer(label)) if chat else len(label.encode()) + 2 for label in labels)


def _asked(
    engine: Engine, prompts: list[Prompt], labels: Sequence[str], decoding: Decoding, bias: Sequence[float]
) -> Sequence[Choice | Completion]:
    if not prompts:
        return []
    if not labels:
        return engine.generate(prompts, replace(decoding, temperature=0.0))
    return choose(engine, prompts, labels, bias)


def choose(engine: Engine, prompts: Sequence[Prompt], labels: Sequence[str], bias: Sequence[float] = ()) -> list[Choice]:
    """The likeliest label of each prompt, with the labels' bias where there is one."""
    if not bias:
        return engine.choose(prompts, labels)
    assert isinstance(engine, ScoresLabels), "labels have a bias for an engine that cannot take it"
    return engine.choose(prompts, labels, None, bias)


def _voted(written: Sequence[Written], ended: Sequence[Choice | Completion | None]) -> Thought:
    """The most frequent answer and its share of all that were drawn; of equally frequent ones the surer, then the first."""
    asked = tuple(one for pair in zip((w.completion for w in written), ended) for one in pair if one is not None)
    answers = [_answer(one, end) for one, end in zip(written, ended)]
    votes = Counter(_normal(text) for text, _ in answers if text)
    if not votes:
        return Thought("", None, "", asked)
    sure: dict[str, float] = defaultdict(float)
    for text, confidence in answers:
        sure[_normal(text)] += confidence or 0.0
    best = max(votes, key=lambda name: (votes[name], sure[name]))
    first = next(i for i, (text, _) in enumerate(answers) if _normal(text) == best)
    share = votes[best] / len(written) if len(written) > 1 else answers[first][1]
    return Thought(answers[first][0], share, written[first].trace, asked)


def _answer(one: Written, end: Choice | Completion | None) -> tuple[str, float | None]:
    if one.completion.error or (end is not None and end.error):
        return "", None
    if isinstance(end, Choice):
        return end.label, end.confidence
    # it may reason on behind the mark and set another
    return (split(end.text)[0] if end else one.answer), None


def _normal(text: str) -> str:
    """Case, blanks and a full stop do not make another answer."""
    return " ".join(text.casefold().split()).rstrip(".")
