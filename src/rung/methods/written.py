"""How much a generating model writes: what is assumed by what it has learnt, and what a few answers of it showed."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass


class StopBehaviour(enum.IntEnum):
    """What a generating model has learnt about stopping, which decides how much it writes."""

    NOTHING = enum.auto()
    """It was given the instruction alone: it writes until it is cut."""
    EXAMPLES = enum.auto()
    """It sees examples: most answers end in time, but a batch seldom has none that does not."""
    ADAPTED = enum.auto()
    """Adapters were trained on the task: nearly all answers end in time, but a batch may still have one that does not."""
    TASK = enum.auto()
    """All of its weights were trained on the task."""


UNSHOWN_LENGTH = 0.6
"""Share of `max_new_tokens` that a model writes which was shown no example, about."""
CUT_RATE = {StopBehaviour.NOTHING: 0.6, StopBehaviour.EXAMPLES: 0.2, StopBehaviour.ADAPTED: 0.02}
"""Share of answers that do not end before they are cut, about."""
LONGEST_FACTOR = 3
"""Longest answer in a batch over the mean length, for a model trained on the task, about."""
PRIOR_ROWS = 0.3
"""Answers that the assumed share of cut ones counts as, beside those seen: a model runs past its end nearly always or nearly
never. The best of 0.3, 0.5, 1 and 2 for two rows drawn from answers to four tasks, tried by hand."""
PRIOR_LENGTH = 0.5
"""Answers that the train rows' mean length counts as, beside those seen to end."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A few answers of a model."""

    ended: tuple[int, ...] = ()
    """Tokens of each answer that ended itself."""
    cut: int = 0
    """Answers that were cut."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of an answer: the mean, and of the longest in a batch."""

    mean: float
    longest: float


def lengths(right: float, limit: float, stop: StopBehaviour, batch: int, seen: Seen = Seen()) -> Lengths:
    """How long answers are. `right`: mean tokens of the right answers; `limit`: tokens after which one is cut."""
    limit = max(right, limit)
    if seen.ended or seen.cut:
        return _after(seen, right, limit, CUT_RATE.get(stop, 0.0), batch)
    if stop is StopBehaviour.NOTHING:
        return Lengths(max(right, UNSHOWN_LENGTH * limit), limit)
    if rate := CUT_RATE.get(stop):
        return Lengths((1 - rate) * right + rate * limit, limit)
    return Lengths(right, min(limit, LONGEST_FACTOR * right))


def _after(seen: Seen, right: float, limit: float, rate: float, batch: int) -> Lengths:
    """Lengths given a few answers: the share of cut ones has a beta distribution, and so the chance that a batch has one."""
    cut, ended = PRIOR_ROWS * rate + seen.cut, PRIOR_ROWS * (1 - rate) + len(seen.ended)
    usual = min(limit, (PRIOR_LENGTH * right + sum(seen.ended)) / (PRIOR_LENGTH + len(seen.ended)))
    share = cut / (cut + ended)
    none_cut = math.exp(_log_beta(cut, ended + batch) - _log_beta(cut, ended)) if cut else 1.0
    longest = min(limit, LONGEST_FACTOR * usual)
    return Lengths((1 - share) * usual + share * limit, none_cut * longest + (1 - none_cut) * limit)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
