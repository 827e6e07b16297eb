"""How far a judge agrees with people. It decides nothing until that is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rung.errors import RungError
from rung.metrics.judge import Judge, JudgeReply
from rung.metrics.resample import bootstrap_interval
from rung.metrics.stats import Array
from rung.types import Interval

MIN_KAPPA = 0.4
"""Kappa that a judge's lower bound must reach: above it agreement counts as moderate (Landis and Koch 1977, Biometrics
33:159), about what two people reach on open answers."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement of a judge with people's marks on the same rows."""

    judge: str
    """Digest of the judge."""
    kappa: Interval
    """Cohen's kappa, agreement beyond chance (weighted by squared distance for a rubric); -1 to 1."""
    same: Interval
    """Share of rows with the same mark."""
    steady: Interval | None
    """Share of pairs with the same verdict in both orders; None if rows are shown once."""
    failed: int
    """Rows without a mark. They count as disagreement."""
    at_least: float

    @property
    def trusted(self) -> bool:
        return self.kappa.n > 0 and self.kappa.low >= self.at_least

    @property
    def doubt(self) -> str:
        """Why the judge cannot decide; empty if it can."""
        if self.trusted:
            return ""
        if not self.kappa.n:
            return "the judge's agreement with people is not measured: no row has a human mark"
        return f"the judge agrees with people at kappa {self.kappa}, but the lower bound must reach {self.at_least:g}"

    def __str__(self) -> str:
        if not self.kappa.n:
            return "not compared with human marks"
        parts = [f"kappa {self.kappa} with people's marks", f"same mark {self.same}"]
        parts += [f"same in both orders {self.steady}"] if self.steady else []
        parts += [f"{self.failed} without a mark"] if self.failed else []
        return "; ".join(parts)


def agreement_with_people(judge: Judge, marked: Sequence[tuple[Any, str]], at_least: float = MIN_KAPPA) -> Agreement:
    """Measure a judge on rows marked by people. It is trusted if kappa's lower bound reaches `at_least`.

    Without rows it is not trusted. Cohen (1960), Educational and Psychological Measurement 20:37; weights: Cohen (1968),
    Psychological Bulletin 70:213.
    """
    wrong = sorted({mark for _, mark in marked} - set(judge.marks))
    if wrong:
        raise RungError(
            f"the mark {wrong[0]!r} is not one of {', '.join(judge.marks)}.",
            where="marked rows",
            remedy="Human marks must use the judge's scale.",
        )
    if not marked:
        return Agreement(judge.digest, Interval(0.0, -1.0, 1.0, 0), Interval(0.0, 0.0, 1.0, 0), None, 0, at_least)
    return agreement_of(judge, [mark for _, mark in marked], judge.sides([row for row, _ in marked]), at_least)


def agreement_of(
    judge: Judge, people: Sequence[str], sides: Sequence[Sequence[JudgeReply]], at_least: float = MIN_KAPPA
) -> Agreement:
    """What a judge has said of rows, compared with what people say of them."""
    given = [judge.settle(some).mark or "failed" for some in sides]
    twice = [float(len(set(some)) == 1) for some in sides if len(some) > 1 and not any(one.error for one in some)]
    return Agreement(
        judge.digest,
        kappa(people, given, judge.marks, ordered=judge.ordered),
        _share([float(a == b) for a, b in zip(people, given, strict=True)]),
        _share(twice) if twice else None,
        given.count("failed"),
        at_least,
    )


def kappa(people: Sequence[str], judge: Sequence[str], marks: Sequence[str], *, ordered: bool = False) -> Interval:
    """Cohen's kappa with a bootstrap interval over rows. `failed` has the maximum distance to every mark.

    If chance agreement is 1 (a single mark throughout) kappa is undefined and set to 0.
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


def _share(values: Sequence[float]) -> Interval:
    return bootstrap_interval(values, limits=(0.0, 1.0))
