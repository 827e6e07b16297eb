"""Judging by a model: pairs in both orders, and rubrics; a judge decides nothing until its agreement with people is measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from rung.errors import RungError
from rung.metrics.resample import bootstrap_interval
from rung.metrics.stats import Array
from rung.types import Interval, Message, digest

Ask = Callable[[Sequence[tuple[Message, ...]], Sequence[str]], Sequence[str | None]]
"""From chats and the answers allowed to one of these for each, None where there is none. `rung.lm.asking` makes one of an
engine."""

Outcome = Literal["first", "second", "tie", "failed"]

VERSION = 1  # raise when the same judge would now be asked in other words

AT_LEAST = 0.4
"""Kappa that a judge's lower bound must reach: above it agreement counts as moderate (Landis and Koch 1977, Biometrics
33:159), about what two people reach on open answers."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one question."""

    question: str
    first: str
    second: str


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer to a question, and the right one where there is one."""

    question: str
    answer: str
    reference: str = ""


class Judge(Protocol):
    """Marks rows; `failed` where the model gave no mark."""

    marks: tuple[str, ...]
    """The marks it gives, in order where they have one."""
    ordered: bool
    """Whether a near mark is nearly right."""

    @property
    def digest(self) -> str:
        """Content name: another model, criterion or wording is another judge."""
        ...

    def __call__(self, rows: Sequence[Any]) -> list[str]: ...


@dataclass(frozen=True)
class Pairwise:
    """Which of two answers is better. Each pair is shown in both orders; a judge that changes its mind says tie.

    Position decides many verdicts of a model otherwise: https://arxiv.org/abs/2305.17926.
    """

    ask: Ask
    model: str
    """The judge's name, for its digest."""
    criterion: str
    """What makes an answer better, as you would tell it to a person."""
    marks = ("first", "second", "tie")
    ordered = False

    @property
    def digest(self) -> str:
        return digest(["pairwise", VERSION, self.model, self.criterion])

    def __call__(self, rows: Sequence[Pair]) -> list[str]:
        """first, second, tie or failed, for each pair."""
        orders = [self._chat(p.question, p.first, p.second) for p in rows]
        orders += [self._chat(p.question, p.second, p.first) for p in rows]
        said = self.ask(orders, ("1", "2", "tie"))
        return [_both(ahead, behind) for ahead, behind in zip(said[: len(rows)], said[len(rows) :], strict=True)]

    def _chat(self, question: str, one: str, two: str) -> tuple[Message, ...]:
        system = f"You compare two answers to a question. {self.criterion} Say 1, 2 or tie, and nothing else."
        return (Message("system", system), Message("user", f"Question:\n{question}\n\nAnswer 1:\n{one}\n\nAnswer 2:\n{two}"))


@dataclass(frozen=True)
class Rubric:
    """A mark from 1 to `points` for each answer."""

    ask: Ask
    model: str
    criterion: str
    """What the lowest and the highest mark stand for, and what counts between."""
    points: int = 5
    ordered = True

    @property
    def marks(self) -> tuple[str, ...]:
        return tuple(str(mark) for mark in range(1, self.points + 1))

    @property
    def digest(self) -> str:
        return digest(["rubric", VERSION, self.model, self.criterion, self.points])

    def __call__(self, rows: Sequence[Answered]) -> list[str]:
        """1 to `points`, or failed, for each row."""
        said = self.ask([self._chat(row) for row in rows], self.marks)
        return [mark if mark in self.marks else "failed" for mark in said]

    def _chat(self, row: Answered) -> tuple[Message, ...]:
        system = f"You mark an answer from 1 (worst) to {self.points} (best). {self.criterion} Say the number and nothing else."
        right = f"\n\nThe right answer:\n{row.reference}" if row.reference else ""
        return (Message("system", system), Message("user", f"Question:\n{row.question}{right}\n\nAnswer:\n{row.answer}"))


@dataclass(frozen=True, slots=True)
class Agreement:
    """A judge against people's marks on the same rows."""

    judge: str
    """Its digest."""
    kappa: Interval
    """Cohen's kappa, agreement beyond chance (weighted by squared distance for a rubric); -1 to 1."""
    same: Interval
    """Share of rows with the very same mark."""
    failed: int
    """Rows without a mark. They count as disagreement."""
    at_least: float

    @property
    def trusted(self) -> bool:
        return self.kappa.low >= self.at_least


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a trusted judge says of many rows."""

    score: Interval
    """Mean mark from 0 to 1; for pairs the share that the second answer wins, a tie being half. Rows without a mark are
    not left out: the interval reaches from where all of them were 0 to where all were 1."""
    marks: tuple[str, ...]
    failed: int


def trust(judge: Judge, marked: Sequence[tuple[Any, str]], at_least: float = AT_LEAST) -> Agreement:
    """Measure a judge on rows that people marked with its marks. It is trusted where kappa's lower bound reaches `at_least`.

    Cohen (1960), Educational and Psychological Measurement 20:37; weights: Cohen (1968), Psychological Bulletin 70:213.
    """
    wrong = sorted({mark for _, mark in marked} - set(judge.marks))
    if wrong or not marked:
        what = f"the mark {wrong[0]!r} is none of {', '.join(judge.marks)}." if wrong else "no row is marked."
        raise RungError(what, where="marked rows", remedy="A judge is measured on rows that people marked as it does.")
    people = [mark for _, mark in marked]
    given = judge([row for row, _ in marked])
    same = [float(a == b) for a, b in zip(people, given, strict=True)]
    return Agreement(
        judge.digest,
        kappa(people, given, judge.marks, ordered=judge.ordered),
        bootstrap_interval(same, limits=(0.0, 1.0)),
        given.count("failed"),
        at_least,
    )


def verdict(judge: Judge, rows: Sequence[Any], agreement: Agreement) -> Verdict:
    """What the judge says of rows. RungError where its agreement with people is too low, or was measured on another judge."""
    if agreement.judge != judge.digest:
        raise RungError("the agreement is that of another judge.", remedy="Measure this one: trust(judge, marked rows).")
    if not agreement.trusted:
        raise RungError(
            f"the judge agrees with people at kappa {agreement.kappa}, and its lower bound must reach {agreement.at_least:g}.",
            remedy="Take a stronger model, state the criterion more sharply, or mark more rows.",
        )
    marks = judge(rows)
    worth = _worth(judge)
    values = {end: [worth.get(mark, end) for mark in marks] for end in (0.0, 0.5, 1.0)}
    low, middle, high = (bootstrap_interval(values[end], limits=(0.0, 1.0)) for end in (0.0, 0.5, 1.0))
    return Verdict(Interval(middle.value, low.low, high.high, len(marks)), tuple(marks), marks.count("failed"))


def kappa(people: Sequence[str], judge: Sequence[str], marks: Sequence[str], *, ordered: bool = False) -> Interval:
    """Cohen's kappa with a bootstrap interval over rows. `failed` is as far as can be from every mark.

    Where chance alone would always agree (one mark throughout) kappa says nothing, and is 0.
    """
    names, size = [*marks, "failed"], len(marks) + 1
    distance = np.ones((size, size)) - np.eye(size)
    if ordered:
        place = np.arange(size - 1) / max(1, size - 2)
        distance[:-1, :-1] = (place[:, None] - place[None, :]) ** 2

    def beyond_chance(totals: Array) -> Array:
        table = totals.reshape(*totals.shape[:-1], size, size)
        table = table / table.sum(axis=(-2, -1), keepdims=True)
        chance = table.sum(axis=-1)[..., :, None] * table.sum(axis=-2)[..., None, :]
        seen, expected = (table * distance).sum(axis=(-2, -1)), (chance * distance).sum(axis=(-2, -1))
        return np.where(expected > 0, 1 - seen / np.where(expected > 0, expected, 1.0), 0.0)

    cells = np.zeros((len(people), size * size))
    for row, (a, b) in enumerate(zip(people, judge, strict=True)):
        cells[row, names.index(a) * size + names.index(b)] = 1.0
    return bootstrap_interval(cells, statistic=beyond_chance, limits=(-1.0, 1.0))


def _both(ahead: str | None, behind: str | None) -> Outcome:
    """One outcome of the two orders, the second of which names the answers the other way round."""
    first: dict[str | None, Outcome] = {"1": "first", "2": "second", "tie": "tie"}
    second: dict[str | None, Outcome] = {"1": "second", "2": "first", "tie": "tie"}
    if ahead not in first or behind not in second:
        return "failed"
    return first[ahead] if first[ahead] == second[behind] else "tie"


def _worth(judge: Judge) -> dict[str, float]:
    """Each mark from 0 to 1."""
    if judge.ordered:
        return {mark: place / max(1, len(judge.marks) - 1) for place, mark in enumerate(judge.marks)}
    return {"first": 0.0, "tie": 0.5, "second": 1.0}
