"""Racing: rungs and trials answer the same rows in stages; hopeless ones are dropped, clear winners stop early."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TypeVar

from rung.data.split import question
from rung.errors import TaskError
from rung.metrics import Metric, with_unscored
from rung.sequential.interim import AnalysisSchedule, InterimAnalysis, bounds, drop, schedule_analyses, so_far
from rung.types import Example, Raced, Scores

Row = TypeVar("Row")


def in_order(examples: Sequence[Example], seed: int) -> list[Example]:
    """Examples in scoring order: a hash of the seed and the group, or of the question if there is no group.

    All candidates and resumed runs use the same order. Rows of a group are adjacent, so a stage contains whole groups.
    """

    def place(example: Example) -> tuple[str, str]:
        name = f"group\0{example.group}" if example.group else f"question\0{question(example)}"
        return hashlib.sha256(f"race\0{seed}\0{name}".encode()).hexdigest(), example.id

    return sorted(examples, key=place)


def clusters_of(examples: Sequence[Example]) -> list[Hashable] | None:
    """Each row's group, or its index if it has none; None if no row has a group."""
    if not any(example.group for example in examples):
        return None
    return [example.group or i for i, example in enumerate(examples)]


# --- a rung against the goal ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RacePlan:
    """Settings of a raced climb, fixed before the first rung is scored."""

    rows: tuple[Example, ...]
    """The dev rows, in scoring order."""
    schedule: AnalysisSchedule
    goal: float
    error: float
    """One rung's share of the error, one-sided."""
    binary: bool


def race_plan(rows: Sequence[Example], seed: int, metric: Metric, goal: float, error: float) -> RacePlan:
    """The race plan for these dev rows. TaskError for a metric that is not a mean over rows: it has no interim bounds."""
    if metric.corpus:
        raise TaskError(
            f"race needs a metric that is a mean over rows, and {metric.name} is not.",
            where="rung.yaml race",
            remedy="Drop race, or take another goal.metric.",
        )
    ordered = in_order(rows, seed)
    return RacePlan(tuple(ordered), schedule_analyses(len(ordered), clusters_of(ordered)), goal, error, metric.binary)


def score_until_decided(on: RacePlan, score: Callable[[Sequence[Example]], Scores]) -> tuple[Scores, Raced]:
    """Score a rung stage by stage until the result is clear. Returns the scores and the schedule to store for `analysis_of`.

    `score` is called with all rows up to each stage and should cache its answers. The 95% interval holds under any
    stopping rule. Secondary metrics have no such interval, so they are reported only if all rows were scored.
    """
    for look in on.schedule.at(on.error):
        rows = on.rows[: look.rows]
        found, clusters = score(rows), clusters_of(rows)
        # unscored rows neither drop a rung nor help it
        worst, best = (so_far(values, on.goal, look, clusters, on.binary) for values in (found.per_row, found.at_best))
        if look.last or worst == "meets" or best in ("fails", "hopeless"):
            break
    raced = Raced(**asdict(on.schedule), asked=look.rows)
    stopped = analysis_of(raced, 0.025)
    overall = with_unscored(lambda values, _: bounds(values, stopped, clusters, on.binary), found)
    return replace(found, overall=overall, others=found.others if look.last else {}), raced


def analysis_of(raced: Raced, error: float) -> InterimAnalysis:
    """The stage at which a raced rung stopped, from its record."""
    schedule = AnalysisSchedule(raced.sizes, raced.spend, raced.largest)
    return schedule.at(error)[schedule.sizes.index(raced.asked)]


# --- candidates against each other ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Dropped:
    candidate: int
    look: int
    """Index of the stage."""
    reason: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of a race. Candidates are identified by index."""

    winner: int
    """The remaining candidate with the best mean; the first of ties."""
    left: tuple[int, ...]
    """Candidates not shown to be worse than another."""
    dropped: tuple[Dropped, ...]
    rows_asked: tuple[int, ...]
    values: tuple[tuple[float, ...], ...]
    """Scores of each candidate in row order, up to where it was stopped."""


def race(
    candidates: Sequence[Callable[[Sequence[Row]], Sequence[float]]],
    rows: Sequence[Row],
    schedule: AnalysisSchedule,
    *,
    alpha: float = 0.05,
    clusters: Sequence[Hashable] | None = None,
    binary: bool = False,
    ahead: Callable[[Sequence[int], int], object] = lambda left, rows: None,
) -> Outcome:
    """Score candidates on the same rows, stage by stage, and drop those significantly worse than the leader.

    A candidate is called with new rows and returns a value in [0, 1] for each. `rows` are ordered by `in_order`,
    `clusters` has one entry per row, `schedule` that of `schedule_analyses`. The truly best candidate is dropped
    with probability at most `alpha`: each of the m - 1 possible leaders gets alpha / (m - 1). The race ends when one
    candidate is left. The winner's mean is biased upwards by selection: report a score on fresh rows.

    `ahead` is called before each stage with the candidates left and how many rows they will have answered after it, so that
    several can answer at the same time.
    """
    assert candidates and schedule.sizes[-1] == len(rows), f"analyses at {schedule.sizes} and {len(rows)} rows"
    values: list[list[float]] = [[] for _ in candidates]
    left, dropped = list(range(len(candidates))), list[Dropped]()
    mean = partial(_mean, values)
    asked = 0
    for number, look in enumerate(schedule.at(alpha / max(1, len(candidates) - 1))):
        ahead(left, look.rows)
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
