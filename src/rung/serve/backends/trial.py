"""Rung's own engine and a backend, asked the same prompts: where their answers part, and how long each takes."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from rung.export.limits import LIMITS
from rung.lm.backends.engine import BackendEngine
from rung.lm.base import Completion, Decoding, Prompt, RunningBatch, WritesInSteps, Writing

TOKENS = 32
"""Tokens at which answers are cut in a trial."""
SHARE = 4
"""Prompts that are compared, and as many others that are then asked all at once; what is left is asked one after the other."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Greedy answers of both, compared up to the first token at which each pair parts."""

    answers: int
    same: int
    places: int
    """Tokens that were compared."""
    margins: tuple[float, ...]
    """At each parting, nats by which rung's engine prefers its own token."""
    numbers: str
    """The type of the backend's weights, which sets the limits."""

    @property
    def faults(self) -> str:
        """What is over the limits that an export of this type has; empty where nothing is."""
        limits, worst = LIMITS[self.numbers], max(self.margins, default=0.0)
        if worst > limits.margin:
            return f"a token differs by {worst:.3g} nats, more than {limits.margin:g}"
        if self.places and 1 - len(self.margins) / self.places < limits.agreement:
            return f"{len(self.margins)} of {self.places} tokens differ, more than {1 - limits.agreement:.0%}"
        return ""

    def __str__(self) -> str:
        worst = f", the largest margin {max(self.margins):.3g} nats" if self.margins else ""
        return f"{self.same} of {self.answers} answers are the same{worst}"


@dataclass(frozen=True, slots=True)
class Speed:
    """Seconds of both for the same answers: of rung's engine, of the backend."""

    alone: tuple[float, float]
    """One answer after the other."""
    together: tuple[float, float] | None
    """All at once; None where there was no time to measure it."""

    @property
    def gain(self) -> float:
        """How many times faster the backend is: the geometric mean of both ways of asking, as a server sees both."""
        found = [pair[0] / pair[1] for pair in (self.alone, self.together) if pair]
        return math.prod(found) ** (1 / len(found))

    def __str__(self) -> str:
        said = f"{self.alone[1]:.2f} s against {self.alone[0]:.2f} s for one answer after the other"
        return said + (f", {self.together[1]:.2f} s against {self.together[0]:.2f} s for all at once" if self.together else "")


def agreement(other: BackendEngine, prompts: Sequence[Prompt]) -> Agreement:
    """Ask both the same, one prompt after the other; warms both, too."""
    from rung.lm.export.reference import Reference

    original = Reference(other.own)
    tokens = [original.prompt(prompt) for prompt in prompts[:SHARE]]
    same, places, margins = 0, 0, list[float]()
    for ids, own in zip(tokens, original.write(tokens, TOKENS)):
        answer, (theirs, finished) = own.tokens + own.end, other.backend.greedy(ids, TOKENS)
        if finished:  # it does not say at which of a model's end tokens
            theirs += own.end if own.end and len(theirs) == len(own.tokens) else (other.chat.end,)
        place = next((k for k, (a, b) in enumerate(zip(answer, theirs)) if a != b), None)
        if place is None:
            same += 1
            places += len(answer)
        else:
            margins.append(original.margins(ids, answer[: place + 1], [*answer[:place], theirs[place]])[place])
            places += place + 1
    return Agreement(len(tokens), same, places, tuple(margins), other.backend.numbers)


def speed(other: BackendEngine, prompts: Sequence[Prompt], until: float) -> Speed:
    """Time both, in turns. `until`: `time.monotonic()` after which no more is measured."""
    decoding = Decoding(max_new_tokens=TOKENS)
    own: WritesInSteps = other.own
    batch = own.running()
    assert batch is not None, "the own engine of a backend writes in steps"
    batches: tuple[RunningBatch, RunningBatch] = (batch, other.running())
    _written(batch, prompts[:1], decoding)  # the comparison has warmed the backend's cache, not this one's
    alone = [0.0, 0.0]
    for prompt in prompts[2 * SHARE :] or prompts[:1]:
        for k, one in enumerate(batches):
            alone[k] += _seconds(one, [prompt], decoding)
    if time.monotonic() > until:
        return Speed((alone[0], alone[1]), None)
    for one in batches:  # a backend computes a front for each of as many answers once
        _written(one, prompts[:SHARE], decoding)
    together = [_seconds(one, prompts[SHARE : 2 * SHARE] or prompts, decoding) for one in batches]
    return Speed((alone[0], alone[1]), (together[0], together[1]))


def _seconds(batch: RunningBatch, prompts: Sequence[Prompt], decoding: Decoding) -> float:
    started = time.monotonic()
    _written(batch, prompts, decoding)
    return time.monotonic() - started


def _written(batch: RunningBatch, prompts: Sequence[Prompt], decoding: Decoding) -> list[Completion]:
    out: dict[int, Completion] = {}
    failed: list[Exception] = []
    for number, prompt in enumerate(prompts):

        def done(found: Completion, number: int = number) -> None:
            out[number] = found

        batch.join(Writing(prompt, decoding, done, failed.append))
    while len(batch):
        batch.step()
    if failed:
        raise failed[0]
    return [out[number] for number in range(len(prompts))]
