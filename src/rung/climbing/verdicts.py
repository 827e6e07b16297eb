"""One rung against the goal: meets, fails or undecided, by all of its held-out rows and the goal's limits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from rung.claims import selective
from rung.claims.evidence import outlook
from rung.claims.shares import SCREEN, Candidate, Counted, Measured
from rung.climbing.held import HeldRows, Proof, joined, scores_of
from rung.decisions import RungVerdict
from rung.evaluate import forgetting
from rung.metrics import find, stats, with_unscored
from rung.sequential.interim import InterimAnalysis, bounds
from rung.types import Interval, Record, Scores

ENOUGH = 0.8
"""The chance with which an advised number of rows decides."""
STEPS = (100, 300, 1000)
"""Numbers of further rows whose chances the verdict states."""
PRACTICAL = 10_000
"""Held-out rows above which labelling more is no advice."""


class GoalLike(Protocol):
    """The fields of a Goal that are read here; None is no limit."""

    @property
    def metric(self) -> str: ...
    @property
    def at_least(self) -> float: ...
    @property
    def coverage(self) -> float | None: ...
    @property
    def latency_ms(self) -> float | None: ...
    @property
    def usd_per_1k(self) -> float | None: ...
    @property
    def usd_per_month(self) -> float | None: ...
    @property
    def max_forgetting(self) -> float | None: ...


class Ahead(Protocol):
    """What the rows seen so far say about rows that are still to come: `rung.claims.evidence.Outlook`, for one goal or two."""

    def chance(self, more: int, goal: float, level: float) -> float: ...
    def decides(self, more: int, goal: float, level: float, error: float) -> float: ...


@dataclass(frozen=True, slots=True)
class Case:
    """One measured rung, with what its verdict depends on besides the goal."""

    record: Record
    rows: HeldRows
    error: float
    """Probability with which its upper bound may be wrong, one-sided."""
    sealed: int = 0
    """Sealed rows that would prove it, or have."""
    proof: Proof | None = None
    stage: InterimAnalysis | None = None
    """Where it was raced, the analysis at which it stopped."""
    due: float | None = None
    """The share of rows that it must answer; None where it answers all."""

    @property
    def held(self) -> Scores:
        """All of its rows that were opened."""
        return joined(scores_of(self.record), self.proof)

    @property
    def open(self) -> bool:
        """Whether rows that would prove it are still sealed."""
        return bool(self.sealed) and self.proof is None

    @property
    def early(self) -> InterimAnalysis | None:
        """The analysis at which it stopped, if it has not answered all dev rows."""
        return self.stage if self.stage and not self.stage.last and self.proof is None else None

    def unseen(self) -> int:
        """Rows that a proof would add."""
        rest = self.early.of - self.early.rows if self.early else 0
        return self.sealed + rest if self.open else 0

    def bounds(self, level: float) -> Interval:
        """The lower bound at its level, the upper at its error."""
        low, high = self._bounds(level), self._bounds(self.stage.error if self.stage and self.proof is None else self.upper_error)
        return Interval(high.value, min(low.low, high.value), high.high, high.n)

    def coverage(self, level: float) -> Interval | None:
        """The share answered: the lower bound at its level, the upper at its error; None where all rows are answered."""
        if self.due is None:
            return None
        low, high = (self.rows.coverage_bounds(self.held, error) for error in (level, self.upper_error))
        return Interval(high.value, min(low.low, high.value), high.high, high.n)

    @property
    def upper_error(self) -> float:
        """Of one upper bound: a goal on score and share fails by either, so they halve the error."""
        return self.error if self.due is None else self.error / 2

    def _bounds(self, error: float) -> Interval:
        scores = self.held
        stage = self.early
        if stage is None:
            return self.rows.bounds(scores, error)
        binary = bool((metric := find(scores.metric)) and metric.binary)
        clusters = self.rows.clusters(scores.ids)
        return with_unscored(lambda values, _: bounds(values, stage, clusters, binary), scores)

    def candidate(self, screen: float) -> Candidate:
        """The rung as one that may be claimed. `screen`: the error of its upper bound on dev."""
        dev = scores_of(self.record)
        seen, alone = self.rows.evidence(dev), replace(self, proof=None)
        if self.due is not None:
            uppers = (alone._bounds(screen / 2).high, self.rows.coverage_bounds(dev, screen / 2).high)
            return selective.candidate(seen, self.rows.coverage(dev), uppers, self.sealed, self.due)
        if stage := self.stage:  # it may have stopped at any analysis, so its bound must hold at each
            part = screen / (stage.early + stage.final)
            errors = {name: getattr(stage, name) * part for name in ("error", "early", "final")}
            alone, screen = replace(alone, stage=replace(stage, **errors)), errors["error"]
        high = alone._bounds(screen).high
        total = len(seen) + alone.unseen()
        if seen.counted:
            return Counted(total, high)
        return Measured(high, outlook(seen).row_error / total**0.5)

    def outlook(self) -> Ahead:
        """What its rows say about further rows."""
        seen = self.rows.evidence(self.held)
        return outlook(seen) if self.due is None else selective.ahead(seen, self.rows.coverage(self.held), self.due)


def screening(alpha: float, rungs: int) -> float:
    """The error of each rung's upper bound on dev."""
    return SCREEN * alpha / max(1, rungs)


def rung_verdict(case: Case, goal: GoalLike, level: float, later: float, doubt: str) -> RungVerdict:
    """One rung against the goal. `later`: the level it would have with more rows; `doubt`: why its scores are not trusted."""
    record, scores = case.record, case.held
    assert scores.metric == goal.metric, f"{record.rung} was scored by {scores.metric}, the goal is {goal.metric}"
    found = case.bounds(case.stage.error if case.stage and not case.sealed else level)
    share_of = case.coverage(level)
    due = aims(goal)
    seen = f"{scores.metric} {found}{f' answered; coverage {share_of}' if share_of else ''}"
    seen += f", {'dev and sealed rows' if case.proof else scores.split}"
    missing = ""
    if scores.unscored:
        missing = f"{len(scores.unscored)} of {len(scores.ids)} rows have no score ({scores.unscored[0].why})"
        seen += f", {missing}"
    broken = broken_limits(record, goal, case.error)
    if share_of and goal.coverage is not None and share_of.high < goal.coverage:
        broken = (f"the upper bound of its coverage is under {number(goal.coverage)}", *broken)
    if found.high < goal.at_least and not doubt:
        broken = (f"its upper bound is under {number(goal.at_least)}", *broken)
    if broken:
        return RungVerdict(record.rung, "fails", f"{seen}: {'; '.join(broken)}", level=level)

    def undecided(why: str, **more: object) -> RungVerdict:
        return RungVerdict(record.rung, "undecided", f"{seen}: {why}", level=level, **more)  # type: ignore[arg-type]

    reached = found.low >= goal.at_least and (share_of is None or share_of.low >= (goal.coverage or 0.0))
    unknown = open_limits(record, goal, level)
    if doubt:
        return undecided(doubt)
    if missing and not reached:
        return undecided("fix that and climb again", unmeasured=True)
    if case.early and not reached:
        early = case.early
        return undecided(f"given up after {early.rows} of {early.of} rows: all of them would hardly show that it reaches {due}")
    if unknown and (reached or case.open):
        return undecided(f"{'it reaches ' + due if reached else 'not proved'}, but {'; '.join(unknown)}")
    if case.open or not reached:
        ahead = case.outlook()
        chance = ahead.chance(case.unseen(), goal.at_least, level) if case.open else None
        more = rows_to_decide(ahead, goal.at_least, later, case.error)
        return undecided(f"{_state(case, due, chance)}; {advice(ahead, goal.at_least, later, case.error, more)}",
                         more_rows=more, chance=chance)  # fmt: skip
    bound = "lower bounds reach" if share_of else "lower bound reaches"
    return RungVerdict(record.rung, "meets", f"{seen}: its {bound} {due}", level=level)


def _state(case: Case, due: str, chance: float | None) -> str:
    if chance is not None:
        return f"{due} is not proved: the {case.sealed} sealed rows would prove it with a chance of {share(chance)}"
    proved = f"the {case.sealed} sealed rows were opened for it and do not prove it: " if case.proof else ""
    return f"{proved}{due} lies between its bounds"


def aims(goal: GoalLike) -> str:
    """What the goal asks for: 0.80, or 0.95 at coverage 0.70."""
    return number(goal.at_least) + ("" if goal.coverage is None else f" at coverage {number(goal.coverage)}")


# --- limits -----------------------------------------------------------------------------------------------------------


def _limits(record: Record, goal: GoalLike) -> list[tuple[str, float | None, float, str]]:
    """(what, measured, limit, unit) of each limit in the goal other than the score."""
    cost, latency = record.cost, record.latency
    limits: tuple[tuple[str, float | None, float | None, str], ...] = (
        ("p95 latency", latency.p95.value if latency else None, goal.latency_ms, "ms"),
        ("cost per 1,000 calls", cost.per_1k_usd if cost else None, goal.usd_per_1k, "USD"),
        ("cost a month", cost.per_month_usd if cost else None, goal.usd_per_month, "USD"),
    )
    return [(what, seen, limit, unit) for what, seen, limit, unit in limits if limit is not None]


def as_measured(record: Record, goal: GoalLike) -> tuple[str, ...]:
    """The limits that are compared as measured, each with its measurement."""
    found = [f"{what} {seen:.3g} {unit}" for what, seen, _, unit in _limits(record, goal) if seen is not None]
    if goal.latency_ms is not None and record.latency:
        found[0] += f" over {record.latency.p95.n} requests"
    return tuple(found)


def broken_limits(record: Record, goal: GoalLike, error: float) -> tuple[str, ...]:
    """The limits that the rung exceeds, each as a reason."""
    over = tuple(
        f"{what} {number(seen)} {unit} is over {number(limit)} {unit}"
        for what, seen, limit, unit in _limits(record, goal)
        if seen is not None and seen > limit
    )
    rise, most = _rise(record, goal, error)
    return (*over, f"its loss on general text rises by {rise} nats a token, over {number(most)}") if rise.low > most else over


def open_limits(record: Record, goal: GoalLike, level: float) -> tuple[str, ...]:
    """The limits that the measurements do not settle, each as a reason."""
    unmeasured = tuple(
        f"{what} was not measured (limit {number(limit)} {unit})"
        for what, seen, limit, unit in _limits(record, goal)
        if seen is None
    )
    rise, most = _rise(record, goal, level)
    if rise.low <= most < rise.high:
        between = f"its loss on general text rises by {rise} nats a token, and {number(most)} lies between these bounds"
        return (*unmeasured, f"{between}; name more general text under data.general")
    return unmeasured


def _rise(record: Record, goal: GoalLike, error: float) -> tuple[Interval, float]:
    """Forgetting between two one-sided bounds, and its limit. A rung that changed no weights has forgotten nothing."""
    if goal.max_forgetting is None or record.forgetting is None:
        return Interval(0.0, 0.0, 0.0, 0), float("inf")
    return forgetting.bounds(record.forgetting, max(error, 1e-6)), goal.max_forgetting


# --- advice -----------------------------------------------------------------------------------------------------------


def rows_to_decide(ahead: Ahead, goal: float, level: float, error: float) -> int:
    """The fewest further rows, by steps of a fifth, that decide with a chance of ENOUGH; MAX_ROWS if no practical number does."""
    low, high = -1, len(_ROWS) - 1
    if ahead.decides(_ROWS[high], goal, level, error) < ENOUGH:
        return stats.MAX_ROWS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if ahead.decides(_ROWS[middle], goal, level, error) >= ENOUGH else (middle, high)
    return _ROWS[high]


_ROWS = tuple(round(10 * 1.2**step) for step in range(39))  # up to PRACTICAL


def advice(ahead: Ahead, goal: float, level: float, error: float, more: int) -> str:
    """What labelling more rows would bring, as chances."""
    if more >= stats.MAX_ROWS:
        return f"a goal this close cannot be told apart in practice: not even {PRACTICAL:,} more rows would likely decide"
    chance = [share(ahead.decides(rows, goal, level, error)) for rows in STEPS]
    chances = f"chance to decide with 100, 300 or 1,000 more: {chance[0]}, {chance[1]} or {chance[2]}"
    return f"label about {more:,} more rows for dev and test ({chances})"


def share(chance: float) -> str:
    """A chance with two digits, never rounded to certainty."""
    return "under 0.01" if chance < 0.01 else "over 0.99" if chance > 0.99 else f"{chance:.2f}"


def number(value: float) -> str:
    """0.80 for a share or cents, 300 for milliseconds; more digits if needed."""
    return f"{value:.2f}" if round(value, 2) == value <= 1 else f"{value:.6g}"
