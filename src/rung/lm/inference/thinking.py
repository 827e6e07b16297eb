"""Chain-of-thought answers: the reasoning, the marker before the answer, and the vote over several samples.

Chain of thought: https://arxiv.org/abs/2201.11903; the vote, self-consistency: https://arxiv.org/abs/2203.11171. Two passes:
the reasoning is generated, then a label is chosen after it, or, if the reasoning did not reach the marker, an answer is
generated after it. So there is always an answer, and a label is always one of the labels.
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

MARKER = "Answer:"
"""On a line of its own before the answer."""


@dataclass(frozen=True, slots=True)
class Thinking:
    """How to reason before answering."""

    rule: str
    """The sentence about it in the instruction."""
    column: str
    """The column of the rows that holds reasoning to learn from."""
    opening: str = ""
    """First words of the reasoning."""
    tokens: int = 256
    """Most tokens of the reasoning."""
    samples: int = 1
    """Samples per row. One is greedy; of several the most frequent answer counts."""
    temperature: float = 0.7
    """Sampling temperature for several samples."""


@dataclass(frozen=True, slots=True)
class Thought:
    """One row's answer, and the calls that led to it."""

    output: str
    confidence: float | None
    trace: str
    """The reasoning that led to the answer; of several samples the first that did."""
    calls: tuple[Completion | Choice, ...]
    """Every completion and choice on the way, for its tokens and time."""


def turn(trace: str, answer: str) -> str:
    """A whole answer: the reasoning, the marker and the answer."""
    return "\n".join([*([trace] if trace else []), MARKER, answer])


def split(text: str) -> tuple[str, str]:
    """Reasoning and answer: the text before the first marker, and the text from there to the next; without a marker no answer."""
    parts = re.split(rf"^[ \t*#>_]*{MARKER}[*_]*", text, flags=re.MULTILINE | re.IGNORECASE)
    return parts[0].strip(), parts[1].strip() if len(parts) > 1 else ""


def reason(
    engine: Engine, prompts: Sequence[Prompt], how: Thinking, decoding: Decoding, answer_tokens: int, reserve: bool = True
) -> list[Reasoned]:
    """Generate `how.samples` reasonings for each prompt, those of one prompt next to each other.

    `answer_tokens`: most tokens of an answer. `reserve` keeps all of them free after the reasoning; otherwise reasoning and
    answer share what the prompt leaves of the context.
    """
    samples = [replace(prompt, begun=how.opening, draw=k) for prompt in prompts for k in range(how.samples)]
    temperature = how.temperature if how.samples > 1 else 0.0
    unconstrained = replace(decoding, max_new_tokens=how.tokens + answer_tokens, temperature=temperature, schema="")
    out = []
    for prompt, completion in zip(samples, engine.generate(samples, unconstrained)):
        trace, answer = split(f"{how.opening} {completion.text}".strip())
        begun = replace(prompt, begun=turn(trace, ""))
        free = answer_tokens if reserve else min(answer_tokens, max(1, (engine.context - engine.count(prompt)) // 2))
        while trace and engine.count(begun) + free > engine.context:  # a text can have more tokens than were generated
            trace = trace[: len(trace) // 2]
            begun = replace(prompt, begun=turn(trace, ""))
        out.append(Reasoned(begun, trace, answer, completion))
    return out


@dataclass(frozen=True, slots=True)
class Reasoned:
    """A prompt extended by its reasoning; the answer comes next."""

    prompt: Prompt
    trace: str
    answer: str
    """The text after the marker; empty if the reasoning did not reach it."""
    completion: Completion


def think(
    engine: Engine,
    prompts: Sequence[Prompt],
    how: Thinking,
    labels: Sequence[str],
    decoding: Decoding,
    bias: Sequence[float] = (),
) -> list[Thought]:
    """Answer each prompt after reasoning: with one of the labels, or in free text if there are none."""
    answer_tokens = max_label_tokens(labels) if labels else decoding.max_new_tokens
    reasoned = reason(engine, prompts, how, decoding, answer_tokens, bool(labels))
    answers: list[Choice | Completion | None] = [None] * len(reasoned)
    constrained = bool(labels or decoding.schema)
    ask = [i for i, one in enumerate(reasoned) if not one.completion.error and (constrained or not one.answer)]
    for i, answer in zip(ask, _answers(engine, [reasoned[i].prompt for i in ask], labels, decoding, bias)):
        answers[i] = answer
    size = how.samples
    return [_vote(reasoned[i : i + size], answers[i : i + size]) for i in range(0, len(reasoned), size)]


def prediction(one: Thought) -> Prediction:
    """A row's answer with the tokens and time of all its calls. A failed call is an error only if no other gave an answer."""
    failed = next((call.error for call in one.calls if call.error), "")
    return Prediction(
        "",
        one.output,
        one.confidence,
        sum(call.tokens_in for call in one.calls),
        sum(call.tokens_out for call in one.calls),
        sum(call.seconds for call in one.calls),
        "" if one.output else failed,
        sum(call.tokens_cached for call in one.calls),
        again=not one.output and any(call.error and not call.final for call in one.calls),
    )


def max_label_tokens(labels: Sequence[str], chat: Chat | None = None) -> int:
    """Tokens of the longest label under the chat's tokenizer.

    Without a chat an upper bound: one per byte, one for a leading blank that some tokenizers add, and the end token.
    """
    return max(len(chat.answer(label)) if chat else len(label.encode()) + 2 for label in labels)


def _answers(
    engine: Engine, prompts: list[Prompt], labels: Sequence[str], decoding: Decoding, bias: Sequence[float]
) -> Sequence[Choice | Completion]:
    if not prompts:
        return []
    if not labels:
        return engine.generate(prompts, replace(decoding, temperature=0.0))
    return choose(engine, prompts, labels, bias)


def choose(engine: Engine, prompts: Sequence[Prompt], labels: Sequence[str], bias: Sequence[float] = ()) -> list[Choice]:
    """The likeliest label of each prompt, with the labels' bias if there is one."""
    if not bias:
        return engine.choose(prompts, labels)
    assert isinstance(engine, ScoresLabels), "the engine does not support biased labels"
    return engine.choose(prompts, labels, None, bias)


def _vote(reasoned: Sequence[Reasoned], ends: Sequence[Choice | Completion | None]) -> Thought:
    """The most frequent answer and its share of the samples; ties go to the higher confidence, then to the first."""
    calls = tuple(one for pair in zip((r.completion for r in reasoned), ends) for one in pair if one is not None)
    answers = [_answer(one, end) for one, end in zip(reasoned, ends)]
    votes = Counter(_normal(text) for text, _ in answers if text)
    if not votes:
        return Thought("", None, "", calls)
    confidences: dict[str, float] = defaultdict(float)
    for text, confidence in answers:
        confidences[_normal(text)] += confidence or 0.0
    best = max(votes, key=lambda name: (votes[name], confidences[name]))
    first = next(i for i, (text, _) in enumerate(answers) if _normal(text) == best)
    share = votes[best] / len(reasoned) if len(reasoned) > 1 else answers[first][1]
    return Thought(answers[first][0], share, reasoned[first].trace, calls)


def _answer(one: Reasoned, end: Choice | Completion | None) -> tuple[str, float | None]:
    if one.completion.error or (end is not None and end.error):
        return "", None
    if isinstance(end, Choice):
        return end.label, end.confidence
    # the model may continue to reason after the marker and repeat the marker
    return (split(end.text)[0] if end else one.answer), None


def _normal(text: str) -> str:
    """The answer for voting: without differences of case, blanks and a full stop."""
    return " ".join(text.casefold().split()).rstrip(".")
