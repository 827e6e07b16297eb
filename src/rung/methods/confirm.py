"""What prompt searches share: a budget of calls and time, and a check of the winner on fresh rows.

Half of published searches end below where they began (https://arxiv.org/abs/2604.14585), so a prompt that was best on the rows
it was chosen on must also win on rows it was not chosen on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rung.data.split import question
from rung.errors import BudgetError
from rung.evaluate.predict import FIRST_ROWS, NoAnswersError, common_error
from rung.methods import proposing
from rung.methods.base import Run
from rung.metrics import interval, resample
from rung.predictor import CHUNK, Predictor
from rung.sequential.race import clusters_of
from rung.types import Example

ERROR = 0.05
"""How often a prompt that is no better may be accepted; also the error of a race."""


@dataclass
class SearchBudget:
    """Calls and time that a search may spend, and what it has spent."""

    run: Run
    calls: int
    until: float
    spent: int = 0
    began: float = field(default_factory=time.monotonic)

    def asker(self, predictor: Predictor) -> Callable[[Sequence[Example]], list[float]]:
        """A function that scores each row's answer; a row without an answer scores 0."""

        def ask(rows: Sequence[Example]) -> list[float]:
            return [self.worth(answer, row) for answer, row in zip(self.answers(predictor, rows), rows)]

        return ask

    def answers(self, predictor: Predictor, rows: Sequence[Example]) -> list[str | None]:
        """The answers; None for a row that failed. SpentError when the time or the calls are used up."""
        out: list[str | None] = []
        for k in range(0, len(rows), CHUNK):
            if time.monotonic() > self.until:
                raise SpentError(f"ran out of time after {self.spent} calls")
            part = rows[k : k + CHUNK]
            if self.spent + len(part) > self.calls:
                raise SpentError(f"ran out of its {self.calls} calls")
            found = predictor.predict(part, self.run.engines)
            if len(found) >= FIRST_ROWS and (why := common_error(found)):
                raise NoAnswersError(f"{len(found)} rows that the search asked all failed in the same way: {why}")
            out += [None if one.error else one.output for one in found]
            self.spent += len(part)
            self.run.progress(f"searched with {self.spent} of {self.calls} calls", self.spent / self.calls)
        return out

    def worth(self, answer: str | None, row: Example) -> float:
        return 0.0 if answer is None else float(self.run.reward(answer, row))


class SpentError(BaseException):
    """The time or the calls are used up. Not an Exception, so that no caller in between takes it for a failed row."""


def within(start: Predictor, budget: SearchBudget, name: str, search: Callable[[], Predictor]) -> Predictor:
    """What the search finds, or the start if its budget runs out first. BudgetError if the climb's time runs out."""
    try:
        return search()
    except SpentError as spent:
        if time.monotonic() > budget.run.deadline:
            raise BudgetError(
                f"{name}: the search {spent}.",
                remedy=f"Raise budget.minutes in rung.yaml, or lower methods.{name}.calls.",
            ) from None
        return conclude(start, f"no gain: the search {spent}", [], budget)


def confirmed(start: Predictor, best: proposing.Tried, fresh: list[Example], summary: list, budget: SearchBudget) -> Predictor:
    """The best of the race if it is shown to be better on fresh rows; else the start."""
    clusters = clusters_of(fresh)
    before, after = (budget.asker(one)(fresh) for one in (start, best.predictor))
    gain = resample.paired_bootstrap(before, after, clusters)
    budget.run.notes["fresh rows"] = {"start": str(interval(before)), "best": str(interval(after)), "difference": str(gain)}
    if gain.value > 0 and resample.sign_flip(before, after, clusters) <= 2 * ERROR:
        return conclude(best.predictor, f"gain: {best.what}, {gain} on fresh rows", summary, budget)
    return conclude(start, f"no gain: the best, {best.what}, differs by {gain} on fresh rows", summary, budget)


def conclude(found: Predictor, verdict: str, summary: list[dict[str, Any]], budget: SearchBudget) -> Predictor:
    """The Predictor chosen, with the reason in the fit's notes."""
    budget.run.notes.update(verdict=verdict, tried=summary, calls=budget.spent, seconds=round(time.monotonic() - budget.began, 1))
    return found


def parts(rows: Sequence[Example]) -> tuple[list[Example], list[Example], list[Example]]:
    """A quarter to show, the rest halved into rows to race on and fresh rows; groups and equal questions stay together."""
    first = _cut(rows, len(rows) // 4)
    second = _cut(rows, first + (len(rows) - first) // 2)
    return list(rows[:first]), list(rows[first:second]), list(rows[second:])


def front(rows: Sequence[Example], size: int) -> list[Example]:
    """The first rows, at most `size`, in whole groups."""
    if size >= len(rows):
        return list(rows)
    while size > 0 and _key(rows[size]) == _key(rows[size - 1]):
        size -= 1
    return list(rows[: max(0, size)])


def _cut(rows: Sequence[Example], at: int) -> int:
    while 0 < at < len(rows) and _key(rows[at]) == _key(rows[at - 1]):
        at += 1
    return at


def _key(example: Example) -> Hashable:
    return example.group or question(example)
