"""Content of the report's page: decision.json arranged and worded for readers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import TypeAdapter

from rung.advise import draw
from rung.advise.review import ReviewedPlan
from rung.claims.shares import ERROR
from rung.climbing.decide import claim_sentence
from rung.evaluate.forgetting import bounds
from rung.metrics.judge import Agreement
from rung.report import figures
from rung.report.numbers import millis, money, plainly, score
from rung.report.scatter import Point
from rung.types import Comparison, Decision, Interval, Record, RungVerdict, Scores, Verdict

State = Literal["meets", "fails", "undecided", "skipped", "failed", "not tried"]
DemandState = Literal["yes", "no", "open"]


@dataclass(frozen=True, slots=True)
class ReportData:
    """decision.json, read back."""

    decision: Decision
    records: tuple[Record, ...]
    test: Scores | None
    seals_broken: int
    task: Mapping[str, Any]
    fits: Mapping[str, tuple[str, ...]]
    """All rungs of the plan, in order, with the names of their fits."""
    plan: ReviewedPlan | None = None
    """The flowchart's advice; None in decisions of older versions."""
    judge: Agreement | None = None
    """Agreement of the LLM judge with people, if a judge made the scores."""
    bases: Mapping[str, str] = field(default_factory=dict)
    """Base of each rung that uses one; empty in decisions of older versions."""
    untested: str = ""
    """Why a rung with a fair chance could not be proved."""
    spending: Mapping[str, float] | None = None
    """The error spent, as `rung.climbing.ledger.Spending`; None in decisions of older versions."""

    @property
    def measured(self) -> tuple[Record, ...]:
        return tuple(r for r in self.records if r.status == "done" and r.scores is not None)

    @property
    def chosen(self) -> Record | None:
        return next((r for r in self.measured if r.rung == self.decision.chosen), None)

    @property
    def runner_up(self) -> Record | None:
        """The best-scoring rung besides the chosen one."""
        others = [r for r in self.measured if r is not self.chosen]
        return max(others, key=lambda r: overall(r).value, default=None)

    @property
    def verdict(self) -> RungVerdict | None:
        return next((v for v in self.decision.rungs if v.rung == self.decision.chosen), None)


def read_report_data(content: Mapping[str, Any]) -> ReportData:
    """Read the content of decision.json back into frozen values."""
    return TypeAdapter(ReportData).validate_python(content)


def overall(record: Record) -> Interval:
    """The score of a measured record, with its interval."""
    assert record.scores is not None, f"{record.rung} has no scores"
    return record.scores.overall


def with_interval(i: Interval) -> str:
    """A number with its interval and n."""
    return f"{score(i.value)} [{score(i.low)}, {score(i.high)}], n={i.n}"


# --- the decision -----------------------------------------------------------------------------------------------------

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
    return Requirement(what, asked, f"{_change(rise)}, n={rise.n} passages", state)


def _score_state(verdict: RungVerdict, at: Interval, least: float, limit_broken: bool) -> DemandState:
    """The score alone: a rung may fail a limit and still reach the score."""
    if verdict.verdict == "meets":
        return "yes"
    if verdict.verdict == "undecided":
        return "open" if verdict.more_rows or at.low < least else "yes"
    if not limit_broken or at.high < least:
        return "no"
    return "yes" if at.low >= least else "open"


# --- the leaderboard --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Standing:
    """A rung's line in the leaderboard."""

    rung: str
    state: State
    chosen: bool
    why: str
    asides: tuple[str, ...]
    record: Record | None
    bar: figures.Bar | None
    against: Comparison | None
    """Comparison of the chosen rung (a) with this one (b) on shared rows."""


def standings(found: ReportData, drawn: figures.Bars) -> tuple[Standing, ...]:
    """All rungs in the order of the plan."""
    bars = {record.rung: bar for record, bar in zip(found.measured, drawn.bars, strict=True)}
    records = {record.rung: record for record in found.records}
    verdicts = {v.rung: v for v in found.decision.rungs}
    against = {c.b: c for c in found.decision.comparisons}
    lines = []
    for rung in found.fits:
        record = records.get(rung)
        state, why = _state(found, record, verdicts.get(rung))
        chosen = rung == found.decision.chosen
        lines.append(Standing(rung, state, chosen, why, _asides(record), record, bars.get(rung), against.get(rung)))
    return tuple(lines)


def _state(found: ReportData, record: Record | None, verdict: RungVerdict | None) -> tuple[State, str]:
    if record is None:
        return "not tried", "The climb ended before this rung."
    if verdict is not None:
        return verdict.verdict, verdict.why
    assert record.status != "done", f"{record.rung} was measured but has no verdict"
    return record.status, record.reason


def _asides(record: Record | None) -> tuple[str, ...]:
    """Further measurements without a column."""
    if record is None or record.scores is None:
        return ()
    others = [f"{name} {with_interval(i)}" for name, i in record.scores.others.items()]
    if record.forgetting is not None:
        lost, i = record.forgetting, record.forgetting.accuracy
        others.append(
            f"loss on general text {_change(lost.loss)} {lost.unit} against the untouched model, n={lost.loss.n} passages"
        )
        others.append(f"general questions answered right {_change(i)}, n={i.n}")
    if errors := (record.provenance.errors or 0) - (record.provenance.failed or 0):
        others.append(f"{errors} {'row' if errors == 1 else 'rows'} failed with an error and count as wrong")
    if record.provenance.shortened:
        others.append(record.provenance.shortened_text)
    if record.scores.unscored:
        others.append(record.reason)
    return tuple(others)


def _change(i: Interval) -> str:
    return f"{i.value:+.3f} [{i.low:+.3f}, {i.high:+.3f}]"


def rises(found: ReportData) -> dict[str, Interval]:
    """Rise of the loss on general text, in nats per token, for rungs that changed a language model's weights."""
    return {record.rung: bounds(record.forgetting, 0.025) for record in found.measured if record.forgetting}


# --- figures ----------------------------------------------------------------------------------------------------------


def points(found: ReportData) -> tuple[Point, ...]:
    """The measured rungs as points of the scatter plot, in record order."""
    verdicts, risen = {v.rung: v.verdict for v in found.decision.rungs}, rises(found)
    return tuple(
        Point(
            record.rung,
            verdicts[record.rung],
            record.rung == found.decision.chosen,
            overall(record),
            {
                "cost": record.cost.per_month_usd + record.cost.once_usd / 12 if record.cost else None,
                "latency": record.latency.p95.value if record.latency else None,
                "fit": record.cost.fit_seconds if record.cost else None,
                **({"forgetting": risen[record.rung].value if record.rung in risen else 0.0} if risen else {}),
            },
        )
        for record in found.measured
    )


def coverages(found: ReportData) -> tuple[tuple[str, str], ...]:
    """Of each rung, where the goal has a coverage: what it answers and how that was chosen."""
    return tuple((one.rung, _selected(one)) for one in found.measured if one.scores and one.scores.coverage)


def _selected(record: Record) -> str:
    scores, cut = record.scores, record.selection
    assert scores and scores.coverage
    said = f"answers {with_interval(scores.coverage)} of the dev rows with {scores.metric} {with_interval(scores.overall)}"
    if cut is None or cut.why:
        return f"{said}; {cut.why if cut else 'no threshold'}: every row is answered that it does not leave open itself"
    how = f"by {cut.folds} fits, each on the others" if cut.folds else "by the rung itself, which learns nothing from them"
    area = "" if cut.auc is None else f", area under the curve {cut.auc:.3f}"
    error = cut.calibration_error
    bins = "" if error is None else f"; confidence is off by {error[0]:.3f}"
    bins += f", after calibration {error[1]:.3f}" if error and (cut.slope, cut.shift) != (1.0, 0.0) else ""
    return f"{said}; confidence from {cut.at:.3f}, chosen on {cut.rows} train rows answered {how}{area}{bins}"


def flowcharts(found: ReportData, *widths: int) -> tuple[draw.Picture, ...]:
    """The flowchart at each width, with measured scores; empty if the decision contains none."""
    if found.plan is None:
        return ()
    scores = {record.rung: score(overall(record).value) for record in found.measured}
    return tuple(draw.picture(found.plan.chart, scores, width) for width in widths)


@dataclass(frozen=True, slots=True)
class Training:
    """One fit's history: loss by step, held-out score by epoch, and further notes."""

    rung: str
    method: str
    losses: Sequence[float]
    held: Sequence[float]
    facts: tuple[str, ...]
    loss_curve: figures.Curve | None
    held_curve: figures.Curve | None


def trainings(found: ReportData) -> tuple[Training, ...]:
    """Fits with a loss history, in record order."""
    return tuple(
        _training(record.rung, options.get("method", ""), notes)
        for record in found.records
        for options, notes in zip(record.provenance.options or (), record.provenance.notes or ())
        if notes.get("losses")
    )


def _training(rung: str, method: str, notes: Mapping[str, Any]) -> Training:
    losses, held = notes["losses"], notes.get("held", [])
    planned = f" of {notes['planned_steps']:,}" if "stopped" in notes else ""
    why = f": {notes['stopped']}" if planned else ""
    facts = [f"{len(losses):,}{planned} steps{why}", f"last loss {losses[-1]:.4g}"]
    if "trained_parameters" in notes:
        facts.append(f"{notes['trained_parameters']:,} trained parameters ({notes['trained_share']:.2%} of the model)")
    if "rows_per_second" in notes:
        facts.append(f"{notes['rows_per_second']:.3g} rows per second")
    return Training(rung, method, losses, held, tuple(facts), figures.curve(losses), figures.curve(held))
