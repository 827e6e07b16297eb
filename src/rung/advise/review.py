"""Review of a plan after a climb: expected against measured results, and where the plan was wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rung.advise.advise import Chart
from rung.decisions import Comparison, Decision
from rung.types import Cost, Interval, Record

OFF_FACTOR = 1.5
"""An estimate is wrong if it is off by more than this factor."""
MIN_SECONDS = 5.0
"""Shorter times are not reported."""
ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class RungReview:
    """One rung: expected and measured."""

    rung: str
    advice: str
    bet: int
    quoted: Cost | None
    measured: Cost
    score: Interval
    verdict: str
    """Against the goal."""


@dataclass(frozen=True, slots=True)
class PlanReview:
    """The plan compared with the measurements of a climb."""

    """The plan compared with the measurements of a climb."""

    """The plan compared with the measurements of a climb."""

    lines: tuple[RungReview, ...] = ()
    winner: str = ""
    """The rung with the best score."""
    tied: bool = False
    """Whether the first choice is not significantly worse than the winner on the same rows."""
    wrong: tuple[str, ...] = ()
    """Sentences that say where the plan was wrong."""


@dataclass(frozen=True, slots=True)
class ReviewedPlan:
    """The plan and its review, as stored in decision.json."""

    chart: Chart
    hindsight: PlanReview


def review_plan(
    chart: Chart, decision: Decision, records: Sequence[Record], compare: Callable[[Record, Record], Comparison]
) -> PlanReview:
    """Compare the plan with the records. `compare(a, b)` is the paired comparison of two measured rungs."""
    done = {record.rung: record for record in records if record.status == "done" and record.scores and record.cost}
    measured = {rung: record for rung, record in done.items() if rung in chart.rungs}  # no advice is given on cascades
    if not measured:
        return PlanReview()
    verdicts = {verdict.rung: verdict.verdict for verdict in decision.rungs}
    lines = tuple(_line(chart, record, verdicts.get(record.rung, "")) for record in measured.values())
    winner = max(lines, key=lambda line: (line.score.value, line.rung == chart.first)).rung
    tied, wrong = _first_choice(chart.first, winner, measured, compare)
    wrong += [
        f"{one.rung} was expected to score best, but {one.status}: {one.reason}"
        for one in records
        if one.rung == chart.first and one.status != "done"
    ]
    wrong += [
        f"{line.rung} was ruled out, but it meets the goal."
        for line in lines
        if line.advice == "don't" and line.verdict == "meets"
    ]
    if chart.rungs[winner].verdict == "don't":
        wrong.append(f"{winner} scored best, but was ruled out: {chart.rungs[winner].why}.")
    wrong += [sentence for line in lines for sentence in _quotes(line)]
    return PlanReview(lines, winner, tied, tuple(wrong))


def _line(chart: Chart, record: Record, verdict: str) -> RungReview:
    assert record.scores and record.cost
    advice = chart.rungs[record.rung]
    return RungReview(record.rung, advice.verdict, advice.bet, record.quote, record.cost, record.scores.overall, verdict)


def _first_choice(
    first: str, winner: str, measured: dict[str, Record], compare: Callable[[Record, Record], Comparison]
) -> tuple[bool, list[str]]:
    if first == winner:
        return True, []
    if first not in measured:  # the climb met the goal before it was tried
        return False, []
    found = compare(measured[first], measured[winner])
    if found.p_value >= ALPHA or found.difference.value <= 0:
        return True, []
    gap = f"{found.difference.value:+.3f} [{found.difference.low:+.3f}, {found.difference.high:+.3f}], n={found.difference.n}"
    return False, [f"{first} was expected to score best; {winner} did ({gap} on the same rows)."]


def _quotes(line: RungReview) -> list[str]:
    if not line.quoted:
        return []
    rows = line.score.n
    sides = (
        ("fitting", line.quoted.fit_seconds, line.measured.fit_seconds),
        (f"answering {rows} rows", line.quoted.row_seconds * rows, line.measured.row_seconds * rows),
    )
    return [
        f"{line.rung}: {what} was estimated at {quoted:.1f} s and took {seen:.1f} s."
        for what, quoted, seen in sides
        if max(quoted, seen) >= MIN_SECONDS and not quoted / OFF_FACTOR <= seen <= quoted * OFF_FACTOR
    ]
