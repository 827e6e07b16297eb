"""How much a generating model writes: what is assumed by what it has learnt, and what a few answers of it showed."""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean


class StopBehaviour(enum.IntEnum):
    """What a generating model has learnt about stopping, which decides how much it writes."""

    NOTHING = enum.auto()
    """It was given the instruction alone: it writes until it is cut."""
    EXAMPLES = enum.auto()
    """It sees examples: most answers end in time, but a batch seldom has none that does not."""
    TRAINED = enum.auto()
    """Adapters or all of its weights were trained on the task: it writes as long as the right answers, nearly always."""


UNSHOWN_LENGTH = 0.6
"""Share of `max_new_tokens` that a model writes which was shown no example, about."""
CUT_RATE = {StopBehaviour.EXAMPLES: 0.2, StopBehaviour.TRAINED: 0.02, StopBehaviour.NOTHING: 0.6}
"""Share of answers that do not end before they are cut, about."""
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


def lengths(right: Sequence[float], limit: float, stop: StopBehaviour, batch: int, seen: Seen = Seen()) -> Lengths:
    """How long answers are. `right`: tokens of each right answer; `limit`: tokens after which one is cut."""
    mean, longest, limit = fmean(right), expected_longest(right, batch), max(*right, limit)
    rate = CUT_RATE[stop]
    if seen.ended or seen.cut:
        return _after(seen, mean, longest, limit, rate, batch)
    if stop is StopBehaviour.NOTHING:
        return Lengths(max(mean, UNSHOWN_LENGTH * limit), limit)
    none_cut = (1 - rate) ** batch
    return Lengths((1 - rate) * mean + rate * limit, none_cut * longest + (1 - none_cut) * limit)


def expected_longest(sizes: Sequence[float], batch: int) -> float:
    """Of `batch` answers as long as some of these, drawn at random, the expected size of the longest."""
    count = len(sizes)
    return sum(size * ((i / count) ** batch - ((i - 1) / count) ** batch) for i, size in enumerate(sorted(sizes), start=1))


def _after(seen: Seen, right: float, longest: float, limit: float, rate: float, batch: int) -> Lengths:
    """Lengths given a few answers: the share of cut ones has a beta distribution, and so the chance that a batch has one.

    Answers that end are spread as the right ones are, whose mean is `right` and whose longest in a batch is `longest`.
    """
    cut, ended = PRIOR_ROWS * rate + seen.cut, PRIOR_ROWS * (1 - rate) + len(seen.ended)
    usual = min(limit, (PRIOR_LENGTH * right + sum(seen.ended)) / (PRIOR_LENGTH + len(seen.ended)))
    share = cut / (cut + ended)
    none_cut = math.exp(_log_beta(cut, ended + batch) - _log_beta(cut, ended))
    most = min(limit, usual * (longest / right if right else 1.0))
    return Lengths((1 - share) * usual + share * limit, none_cut * most + (1 - none_cut) * limit)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
