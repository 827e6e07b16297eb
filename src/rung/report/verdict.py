"""What the report says of the decision: the verdict, the proof, and each requirement of the goal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from rung.claims.shares import ERROR
from rung.climbing.decide import claim_sentence
from rung.decisions import RungVerdict, Verdict
from rung.evaluate.forgetting import bounds
from rung.report.numbers import millis, money, plainly, score
from rung.report.report_data import ReportData, change, overall, with_interval
from rung.types import Interval, Record

DemandState = Literal["yes", "no", "open"]

OPENING: dict[Verdict, str] = {
    "meets": "{} meets the goal.",
    "fails": "No rung meets the goal.",
    "undecided": "No rung is shown to meet the goal yet.",
}


def headline(found: ReportData) -> str:
    """The verdict in one sentence."""
    if not found.measured:
        return "Undecided: nothing could be measured." if found.decision.unmeasured else "Nothing has been measured yet."
    return OPENING[found.decision.verdict].format(found.decision.chosen)


def test_sentence(found: ReportData) -> str:
    """The test score, or why there is none."""
    metric, verdict, broken = found.task["goal"]["metric"], found.decision.verdict, found.seals_broken
    if found.test is not None:
        stale = f" They have now been shown to {broken} different fits, so this number is no longer fresh."
        return f"On the sealed rows alone: {metric} {with_interval(found.test.overall)}.{stale if broken > 1 else ''}"
    if found.untested:
        return f"The proof could not be finished: {found.untested}"
    reason = {
        "meets": "there are no test rows",
        "fails": "no rung has a chance to meet the goal",
        "undecided": f"no rung has a fair chance to be proved on them{' yet' if found.decision.left else ''}",
    }[verdict]
    if verdict == "meets" or not broken:
        return f"The test is still sealed, because {reason}."
    times = "one fit" if broken == 1 else f"{broken} different fits"
    return f"The test was opened for {times}, of other rungs or in an earlier climb; not for this rung, because {reason}."


def claim_text(found: ReportData) -> str:
    """The one claim, if the chosen rung was proved or its proof failed; else empty."""
    claim = found.decision.claim
    return claim_sentence(found.task["goal"]["metric"], claim) if claim else ""


def turns_sentence(found: ReportData, conversations: bool) -> str:
    """Which answers of conversations are scored; empty if no dev row is one."""
    if not conversations:
        return ""
    if found.task["data"].get("turns") == "every":
        return "Of each conversation every answer of the assistant is scored; those of one conversation count as a cluster."
    return "Of each conversation the last answer is scored."


def spent_sentence(found: ReportData) -> str:
    """The error that claims on these rows have spent; empty for a decision of an older version."""
    if found.spending is None:
        return ""
    spent = found.spending["before"] + found.spending["error"] + found.spending.get("after", 0.0)
    left = f"{ERROR - spent:.2g} is left for later ones"
    return f"Climbs on these held-out rows have spent {spent:.3g} of the error of {ERROR:g}; {left}."


@dataclass(frozen=True, slots=True)
class Requirement:
    """One requirement of the goal, and how the chosen rung does."""

    what: str
    asked: str
    seen: str
    state: DemandState


def requirements(found: ReportData) -> tuple[Requirement, ...]:
    """The goal's requirements against the chosen rung; empty if nothing was measured."""
    goal, record = found.task["goal"], found.chosen
    if record is None or found.verdict is None:
        return ()
    cost, latency = record.cost, record.latency
    sides: tuple[tuple[str, float | None, float | None, Callable[[float], str]], ...] = (
        ("p95 latency", goal["latency_ms"], latency.p95.value if latency else None, lambda v: f"{millis(v)} ms"),
        ("Cost of 1,000 calls", goal["usd_per_1k"], cost.per_1k_usd if cost else None, money),
        ("Cost a month", goal["usd_per_month"], cost.per_month_usd if cost else None, money),
    )
    rest = [] if goal.get("coverage") is None else [_coverage_requirement(found, record, goal["coverage"])]
    rest += [_limit_requirement(what, limit, seen, shown) for what, limit, seen, shown in sides if limit is not None]
    if goal["max_forgetting"] is not None:
        rest.append(_forgetting_requirement(record, found.verdict, goal["max_forgetting"]))
    at, least = overall(record), goal["at_least"]
    limit_broken = any(demand.state == "no" for demand in rest)
    state = "open" if found.judge and found.judge.doubt else _score_state(found.verdict, at, least, limit_broken)
    proved = f"; proved: at least {score(found.decision.claim.at_least)}" if found.decision.claim else ""
    return (Requirement(goal["metric"], f"at least {plainly(least)}", with_interval(at) + proved, state), *rest)


def _coverage_requirement(found: ReportData, record: Record, due: float) -> Requirement:
    """The share of rows to answer."""
    share = record.scores.coverage if record.scores else None
    assert share, "a goal with a coverage measures it"
    claim = found.decision.claim
    proved = f"; proved: at least {score(claim.coverage)}" if claim and claim.coverage is not None else ""
    meets = found.verdict is not None and found.verdict.verdict == "meets"
    state: DemandState = "yes" if meets or share.low >= due else "no" if share.high < due else "open"
    return Requirement("Coverage", f"at least {plainly(due)} of the rows answered", with_interval(share) + proved, state)


def _limit_requirement(what: str, limit: float, seen: float | None, shown: Callable[[float], str]) -> Requirement:
    asked = f"at most {shown(limit)}"
    if seen is None:
        return Requirement(what, asked, "not measured", "open")
    return Requirement(what, asked, shown(seen), "no" if seen > limit else "yes")


def _forgetting_requirement(record: Record, verdict: RungVerdict, most: float) -> Requirement:
    """The limit on forgetting, by bounds; a rung that meets the goal was checked against stricter ones."""
    what, asked = "Forgetting", f"at most {plainly(most)} nats per token"
    if record.forgetting is None:
        return Requirement(what, asked, "no weights changed", "yes")
    rise = bounds(record.forgetting, 0.025)
    state: DemandState = "yes" if verdict.verdict == "meets" or rise.high <= most else "no" if rise.low > most else "open"
    return Requirement(what, asked, f"{change(rise)}, n={rise.n} passages", state)


def _score_state(verdict: RungVerdict, at: Interval, least: float, limit_broken: bool) -> DemandState:
    """The score alone: a rung may fail a limit and still reach the score."""
    if verdict.verdict == "meets":
        return "yes"
    if verdict.verdict == "undecided":
        return "open" if verdict.more_rows or at.low < least else "yes"
    if not limit_broken or at.high < least:
        return "no"
    return "yes" if at.low >= least else "open"
