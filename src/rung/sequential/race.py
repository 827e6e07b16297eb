"""Racing: rungs and trials answer shared rows look by look; the hopeless are dropped, clear winners stop early."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, TypeVar

from rung.data.split import question
from rung.errors import TaskError
from rung.metrics import Metric, up_to_best
from rung.sequential.interim import AnalysisSchedule, InterimAnalysis, bounds, drop, schedule_analyses, so_far
from rung.types import Example, Scores

Row = TypeVar("Row")


def in_order(examples: Sequence[Example], seed: int) -> list[Example]:
    """Examples in the order in which they are asked, settled by the seed and each one's group or else its question.

    All candidates and a resumed run take the same rows; those of a group come together, so that a look has it whole.
    """

    def place(example: Example) -> tuple[str, str]:
        name = f"group\0{example.group}" if example.group else f"question\0{question(example)}"
        return hashlib.sha256(f"race\0{seed}\0{name}".encode()).hexdigest(), example.id

    return sorted(examples, key=place)


def clusters_of(examples: Sequence[Example]) -> list[Hashable] | None:
    """Each row's group, or itself where it has none; None where no row has one."""
    if not any(example.group for example in examples):
        return None
    return [example.group or i for i, example in enumerate(examples)]


# --- a rung against the goal ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RacePlan:
    """What is settled before the first rung of a raced climb is asked."""

    rows: tuple[Example, ...]
    """The dev rows, in order."""
    schedule: AnalysisSchedule
    goal: float
    error: float
    """One rung's part of the error, one-sided."""
    binary: bool


def race_plan(rows: Sequence[Example], seed: int, metric: Metric, goal: float, error: float) -> RacePlan:
    """The course of a climb on these dev rows. TaskError for a score that is no mean over rows: it has no early bounds."""
    if metric.corpus:
        raise TaskError(
            f"race is for a metric that is the mean of its rows, and {metric.name} is not.",
            where="rung.yaml race",
            remedy="Drop race, or take another goal.metric.",
        )
    ordered = in_order(rows, seed)
    return RacePlan(tuple(ordered), schedule_analyses(len(ordered), clusters_of(ordered)), goal, error, metric.binary)


def score_until_decided(on: RacePlan, score: Callable[[Sequence[Example]], Scores]) -> tuple[Scores, dict[str, Any]]:
    """A rung's score on as many looks as it takes to tell, and what a record keeps of it for `analysis_of`.

    `score` is called with all rows up to each look; answers already had are its own to keep. The interval, at 95%,
    holds however the race was stopped. Metrics beside the goal's would have none such: they are told only where all
    rows were asked.
    """
    for look in on.schedule.at(on.error):
        rows = on.rows[: look.rows]
        found, clusters = score(rows), clusters_of(rows)
        # a rung is not dropped for rows that could not be scored, nor are they taken for good ones
        worst, best = (so_far(values, on.goal, look, clusters, on.binary) for values in (found.per_row, found.at_best))
        if look.last or worst == "meets" or best in ("fails", "hopeless"):
            break
    raced = {**asdict(on.schedule), "asked": look.rows}
    stopped = analysis_of(raced, 0.025)
    overall = up_to_best(lambda values, _: bounds(values, stopped, clusters, on.binary), found)
    return replace(found, overall=overall, others=found.others if look.last else {}), raced


def analysis_of(raced: Mapping[str, Any], error: float) -> InterimAnalysis:
    """The look at which a raced rung stopped, from what its record keeps."""
    schedule = AnalysisSchedule(tuple(raced["sizes"]), tuple(raced["spend"]), raced["largest"])
    return schedule.at(error)[schedule.sizes.index(raced["asked"])]


# --- candidates against each other ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Dropped:
    candidate: int
    look: int
    """Number of the look, from 0."""
    reason: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a race ended. Candidates are named by their place."""

    winner: int
    """The best mean among those left; the first of equals."""
    left: tuple[int, ...]
    """All that were not shown to be worse than another."""
    dropped: tuple[Dropped, ...]
    rows_asked: tuple[int, ...]
    values: tuple[tuple[float, ...], ...]
    """What each candidate scored, in the order of the rows, as far as it was asked."""


def race(
    candidates: Sequence[Callable[[Sequence[Row]], Sequence[float]]],
    rows: Sequence[Row],
    schedule: AnalysisSchedule,
    *,
    alpha: float = 0.05,
    clusters: Sequence[Hashable] | None = None,
    binary: bool = False,
) -> Outcome:
    """Score candidates on the same rows, look by look, and drop those shown to be worse than the leader.

    A candidate is called with rows that it has not seen and returns a value in [0, 1] for each. `rows` are in the order
    of `in_order`, `clusters` one for each row, `schedule` that of `schedule_analyses`. The candidate that is truly best is
    dropped with probability at most `alpha`: each of the m - 1 others that might lead has alpha / (m - 1) to err. When
    one is left no further row is asked. The means of a race are those of a chosen few: quote fresh rows.
    """
    assert candidates and schedule.sizes[-1] == len(rows), f"analyses at {schedule.sizes} and {len(rows)} rows"
    values: list[list[float]] = [[] for _ in candidates]
    left, dropped = list(range(len(candidates))), list[Dropped]()
    mean = partial(_mean, values)
    asked = 0
    for number, look in enumerate(schedule.at(alpha / max(1, len(candidates) - 1))):
        for i in left:
            found = candidates[i](rows[asked : look.rows])
            assert len(found) == look.rows - asked, f"candidate {i} gave {len(found)} values for {look.rows - asked} rows"
            values[i].extend(found)
        asked = look.rows
        groups = clusters[:asked] if clusters is not None else None
        leader = max(left, key=mean)
        for i in [i for i in left if i != leader and drop(values[i], values[leader], look, groups, binary)]:
            left.remove(i)
            reason = f"{mean(i):.3f} against {mean(leader):.3f} of candidate {leader} on the same {asked} rows"
            dropped.append(Dropped(i, number, reason))
        if len(left) == 1:
            break
    return Outcome(max(left, key=mean), tuple(left), tuple(dropped), tuple(map(len, values)), tuple(map(tuple, values)))


def _mean(values: Sequence[Sequence[float]], i: int) -> float:
    return sum(values[i]) / max(1, len(values[i]))
