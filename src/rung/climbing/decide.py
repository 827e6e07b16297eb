"""The decision: from the records of the rungs and the goal to the cheapest rung that meets it, or why none does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rung.claims.order import next_proof
from rung.claims.shares import ERROR, Untried, levels
from rung.climbing.comparing import compare as compare
from rung.climbing.comparing import comparisons
from rung.climbing.held import HeldRows, Proof, References, scores_of
from rung.climbing.verdicts import Case, GoalLike, aims, as_measured, broken_limits, rung_verdict, screening
from rung.decisions import Claim, Decision, RungVerdict, Verdict
from rung.metrics.agreement import Agreement
from rung.sequential.interim import InterimAnalysis
from rung.types import Record


def decide(
    records: Sequence[Record],
    goal: GoalLike,
    *,
    alpha: float = ERROR,
    references: References | None = None,
    groups: Mapping[str, str] | None = None,
    planned: int = 0,
    interim: Mapping[str, InterimAnalysis] | None = None,
    judge: Agreement | None = None,
    sealed: int = 0,
    proofs: Mapping[str, Proof] | None = None,
    later: float | None = None,
    left: Mapping[str, str] | None = None,
    apart: Mapping[str, float] | None = None,
) -> Decision:
    """Check each measured rung against the goal, choose one, and compare it with the others on the same rows.

    A rung meets the goal if a lower bound over all its held-out rows, dev and sealed, reaches it. The sealed rows are opened
    for the rungs that `next_rung` names; until then dev rows only rule rungs out. Whichever rungs are tried and proved, the
    probability that any is said to meet the goal and falls short is at most `alpha`, and the errors of `apart` beside it:
    `rung.claims.shares.levels` divides it.
    A rung fails if an upper bound stays below the goal, at an error of 0.05 over all rungs, or if a measured latency or cost
    exceeds its limit. A limit on forgetting is tested by its upper bound at the rung's own level: a rung that misses either
    limit passes only if that bound errs, so the two need not share (the intersection-union test of Berger 1982,
    Technometrics 24:295).

    `records`: in the order of the plan; of several of one rung the last counts. `references`: right answers by row id, for a
    metric that is not a mean over rows, such as macro_f1. `groups`: group by row id, empty for none. `planned`: how many rungs
    may be tried. `interim`: for raced rungs, the analysis at which each stopped. `judge`: agreement with people, if a model's
    marks are the scores; until it is trusted, every rung is undecided. `sealed`: number of sealed rows; with none, the dev
    rows alone prove. `proofs`: by rung, its answers to the sealed rows. `later`: the error of a later climb with more rows.
    `apart`: by rung, an error of its own beside `alpha`, for a rung that is not among the `planned`.
    `left`: rungs that can be tried and have no measurement, each with the reason: while there are any, nothing fails.
    """
    rows, left = HeldRows(references, groups), dict(left or {})
    latest = list({r.rung: r for r in records}.values())
    measured = [r for r in latest if r.status == "done" and r.scores is not None]
    failed = tuple(_unmeasured(r) for r in latest if r.status == "failed")
    waiting = tuple(RungVerdict(rung, "undecided", f"not measured: {why}", unmeasured=True) for rung, why in left.items()
                    if rung not in {one.rung for one in failed})  # fmt: skip
    broken = "".join(f" {one.rung} {one.why}." for one in failed)
    names = tuple(one.rung for one in (*failed, *waiting))
    if not measured:
        nothing = f"No rung was measured: all {len(records)} were skipped or failed.{broken}"
        return Decision("undecided", "", nothing + _left(waiting), (*failed, *waiting), left=names)
    apart = {rung: error for rung, error in (apart or {}).items() if rung in {r.rung for r in measured}}
    tried = max(len(measured), planned + len(apart))
    doubt = judge.doubt if judge else ""
    cases = {
        r.rung: Case(r, rows, ERROR / tried, sealed, (proofs or {}).get(r.rung), (interim or {}).get(r.rung), goal.coverage)
        for r in measured
    }
    level = _levels(cases, goal, alpha, tried, apart)
    scale = (alpha if later is None else later) / alpha
    judged = {rung: rung_verdict(case, goal, level[rung], level[rung] * scale, doubt) for rung, case in cases.items()}

    def verdicts(verdict: Verdict) -> list[Record]:
        return [r for r in measured if judged[r.rung].verdict == verdict]

    meeting = verdicts("meets")
    if meeting:
        chosen = min(meeting, key=price)
        verdict: Verdict = "meets"
    else:
        verdict = "undecided" if verdicts("undecided") or failed or waiting else "fails"
        within = [r for r in measured if not broken_limits(r, goal, ERROR / tried)]
        chosen = _best_or_cheaper(verdicts("undecided") or within or measured, ERROR, rows, goal)
    others = [r for r in measured if r is not chosen]
    claim = _claim(cases[chosen.rung], goal, level[chosen.rung], alpha) if not doubt else None
    why = _why(verdict, judged[chosen.rung], goal, len(meeting), claim)
    tail = broken + ("" if meeting else _left(waiting)) + (f" The judge: {judge}." if judge else "")
    return Decision(
        verdict,
        chosen.rung,
        why + tail,
        (*judged.values(), *failed, *(() if meeting else waiting)),
        comparisons(chosen, others, rows),
        claim,
        () if meeting else names,
    )


def _levels(cases: Mapping[str, Case], goal: GoalLike, alpha: float, tried: int, apart: Mapping[str, float]) -> dict[str, float]:
    """The error level of each rung's lower bound: of those that share `alpha`, and of those that have an error of their own."""
    sharing = {rung: case for rung, case in cases.items() if rung not in apart}
    found = dict(zip(sharing, level_of(list(sharing.values()), goal, alpha, tried - len(apart)), strict=True))
    return found | {rung: level_of([cases[rung]], goal, error, 1)[0] for rung, error in apart.items()}


def level_of(cases: Sequence[Case], goal: GoalLike, alpha: float, tried: int) -> tuple[float, ...]:
    """The error level of each measured rung's lower bound."""
    screen = screening(alpha, tried)
    candidates = [case.candidate(screen) for case in cases]
    return levels([*candidates, *[Untried()] * (tried - len(cases))], goal.at_least, alpha)[: len(cases)]


def next_rung(decision: Decision, records: Sequence[Record], proved: int, finished: bool) -> str | None:
    """The rung to open the sealed rows for, by `rung.claims.order`; None if none has a fair chance.

    `proved`: rungs proved on these rows in this climb. `finished`: whether no rung is left to be measured.
    """
    if decision.verdict == "meets":
        return None
    chances = {one.rung: one.chance for one in decision.rungs}
    known = sorted((r for r in records if r.status == "done" and r.scores), key=price)
    place = next_proof([chances.get(r.rung) for r in known], proved, finished)
    return None if place is None else known[place].rung


def _unmeasured(record: Record) -> RungVerdict:
    return RungVerdict(record.rung, "undecided", f"could not be measured: {record.reason.rstrip('.')}", unmeasured=True)


# --- choosing ---------------------------------------------------------------------------------------------------------


def price(record: Record) -> tuple[float, float, float]:
    """Dollars a month with one-off costs spread over 12, to the cent; then p50 in ms; then forgetting.

    Unmeasured costs and latencies count as infinite; a rung without a forgetting measurement changed no weights.
    """
    cost, latency = record.cost, record.latency
    monthly = round(cost.per_month_usd + cost.once_usd / 12, 2) if cost else float("inf")
    speed = round(latency.p50.value) if latency else float("inf")
    return monthly, speed, record.forgetting.rise if record.forgetting else 0.0


def _short(record: Record, goal: GoalLike) -> float:
    """How far a rung is from a goal with a coverage, the share and the score together; 0 for a goal without one."""
    scores = scores_of(record)
    if goal.coverage is None or scores.coverage is None:
        return 0.0
    return max(0.0, goal.at_least - scores.overall.value) + max(0.0, goal.coverage - scores.coverage.value)


def _best_or_cheaper(candidates: Sequence[Record], alpha: float, rows: HeldRows, goal: GoalLike) -> Record:
    """The cheapest rung that is not significantly worse than the one with the best score; by `_short` before that."""
    nearest = min(_short(one, goal) for one in candidates)
    candidates = [one for one in candidates if _short(one, goal) == nearest]
    best = min(candidates, key=lambda r: (-scores_of(r).overall.value, price(r)))
    cheaper = [r for r in candidates if price(r) < price(best)]
    compared = comparisons(best, cheaper, rows)
    alike = [r for r, c in zip(cheaper, compared, strict=True) if c.p_value >= alpha]
    return min([*alike, best], key=price)


# --- what is said -----------------------------------------------------------------------------------------------------


def _claim(case: Case, goal: GoalLike, level: float, alpha: float) -> Claim | None:
    """What all of the rung's rows prove; None while the rows that would prove it are sealed."""
    if case.open or case.early:
        return None
    found = case.bounds(case.stage.error if case.stage and not case.sealed else level)
    alone = case.proof.test.overall if case.proof else None
    rows, test = len(case.held.ids), len(case.proof.test.ids) if case.proof else 0
    share = case.coverage(level)
    return Claim(found.low, 1 - ERROR, rows - test, test, alone, as_measured(case.record, goal), share.low if share else None)


def claim_sentence(metric: str, claim: Claim) -> str:
    """The one claim: what is proved, how surely, and from which rows."""
    least, share = (math.floor((one or 0.0) * 1000 + 1e-9) / 1000 for one in (claim.at_least, claim.coverage))
    answered = "" if claim.coverage is None else f" on the rows it answers, and it answers at least {share:g} of all rows,"
    rows = f"{claim.dev} dev rows" + (f" that chose it and {claim.sealed} sealed rows" if claim.sealed else "")
    alone = f"; on the sealed rows alone {claim.alone}" if claim.alone else ""
    outside = f"; as measured, outside this confidence: {', '.join(claim.outside)}" if claim.outside else ""
    return f"{metric} at least {least:g}{answered} with {claim.confidence:.0%} confidence, from {rows}{alone}{outside}"


def _why(verdict: Verdict, chosen: RungVerdict, goal: GoalLike, meeting: int, claim: Claim | None) -> str:
    aim = f"{goal.metric} >= {aims(goal)}"
    seen = chosen.why.removeprefix(f"{goal.metric} ")
    if verdict == "meets" and claim:
        rank = f"; it is the cheapest of {meeting} rungs that do" if meeting > 1 else ""
        return f"{chosen.rung} meets {aim}: {claim_sentence(goal.metric, claim)}{rank}."
    if verdict == "meets":
        rank = f"it is the cheapest of {meeting} rungs that do" if meeting > 1 else "it is the only rung that does"
        return f"{chosen.rung} meets {aim}: {seen.partition(': ')[0]}; {rank}."
    opening = "No rung is shown to meet" if verdict == "undecided" else "No rung meets"
    return f"{opening} {aim}; {chosen.rung} is the one to go on with, the best or as good and cheaper: {seen}."


def _left(waiting: Sequence[RungVerdict]) -> str:
    """The rungs that are left to be measured."""
    if not waiting:
        return ""
    listed = "; ".join(f"{one.rung} ({one.why.removeprefix('not measured: ')})" for one in waiting)
    return f" Not measured yet, so nothing is decided: {listed}. Climb again to go on."
