"""The decision: from the records of the rungs and the goal to the cheapest rung that meets it, or why none does."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from rung.evaluate import forgetting
from rung.metrics import TABLE, interval, is_binary, resample, stats, with_unscored
from rung.metrics.judge import Agreement
from rung.sequential.interim import InterimAnalysis, bounds
from rung.types import Comparison, Decision, Example, Interval, Record, RungVerdict, Scores, Verdict

References = Mapping[str, str] | Mapping[str, Example]
"""From a row's id to its right answer, or to the row with all its right answers."""


class GoalLike(Protocol):
    """The fields of a Goal that are read here; None is no limit."""

    @property
    def metric(self) -> str: ...
    @property
    def at_least(self) -> float: ...
    @property
    def latency_ms(self) -> float | None: ...
    @property
    def usd_per_1k(self) -> float | None: ...
    @property
    def usd_per_month(self) -> float | None: ...
    @property
    def max_forgetting(self) -> float | None: ...


@dataclass(frozen=True, slots=True)
class _Rows:
    """Right answers and groups of the dev rows."""

    references: References | None
    groups: Mapping[str, str] | None

    def clusters(self, ids: Sequence[str]) -> list[Hashable] | None:
        """Each row's group, or the row itself if it has none; None if no row has a group."""
        if self.groups is None or not any(self.groups.get(i) for i in ids):
            return None
        return [self.groups.get(row) or i for i, row in enumerate(ids)]

    def truth(self, scores: Scores) -> list[str]:
        """The right answers, if the metric is recomputed from them."""
        if _corpus(scores) is None:
            return []
        assert self.references is not None, f"{scores.metric} is recomputed from the outputs: pass references"
        metric = TABLE.get(scores.metric)
        assert metric, "only a metric of the table has a corpus score"
        rows = [self.references[i] for i in scores.ids]
        return [
            row if isinstance(row, str) else metric.nearest_reference(output, row)
            for row, output in zip(rows, scores.outputs, strict=True)
        ]


def decide(
    records: Sequence[Record],
    goal: GoalLike,
    *,
    alpha: float = 0.05,
    references: References | None = None,
    groups: Mapping[str, str] | None = None,
    planned: int = 0,
    interim: Mapping[str, InterimAnalysis] | None = None,
    judge: Agreement | None = None,
) -> Decision:
    """Check each measured rung against the goal, choose one, and compare it with the others on the same rows.

    A rung meets the goal if a lower bound of its dev score reaches it. It fails if an upper bound stays below it, or if a
    measured latency or cost exceeds its limit. Taking the first of m rungs that passes is a maximum of m tries, so the rungs
    share the error: each bound errs with probability alpha / m (Bonferroni), and the probability that any rung below the
    goal passes is at most about alpha. To decide after every rung and stop at the first success, give in `planned` how many
    may be tried. A limit on forgetting is tested by its upper bound at the same error: a rung that misses either limit
    passes only if that bound errs, so the two need not share the rung's error (the intersection-union test of Berger 1982,
    Technometrics 24:295).

    `references`: right answers by row id, for a metric that is not a mean over rows, such as macro_f1. `groups`: group by
    row id, empty for none. `interim`: for raced rungs, the analysis at which each stopped, with its share of the rung's
    error. `judge`: agreement with people, if a model's marks are the scores; until it is trusted, every rung is undecided.
    Of several records of one rung the last counts. A rung that crashed, or lacks answers to too many rows, is undecided
    rather than failing, and so is the goal unless another rung meets it.
    """
    rows = _Rows(references, groups)
    latest = list({r.rung: r for r in records}.values())
    measured = [r for r in latest if r.status == "done" and r.scores is not None]
    failed = tuple(_unmeasured(r) for r in latest if r.status == "failed")
    broken = "".join(f" {one.rung} {one.why}." for one in failed)
    if not measured:
        return Decision("undecided", "", f"No rung was measured: all {len(records)} were skipped or failed.{broken}", failed)
    share = alpha / max(len(measured), planned)
    doubt = judge.doubt if judge else ""
    judged = {r.rung: _verdict(r, goal, share, rows, (interim or {}).get(r.rung), doubt) for r in measured}

    def verdicts(verdict: Verdict) -> list[Record]:
        return [r for r in measured if judged[r.rung].verdict == verdict]

    meeting = verdicts("meets")
    if meeting:
        chosen = min(meeting, key=_price)
        verdict: Verdict = "meets"
    else:
        verdict = "undecided" if verdicts("undecided") or failed else "fails"
        within = [r for r in measured if not _broken(r, goal, share)]
        chosen = _best_or_cheaper(verdicts("undecided") or within or measured, alpha, rows)
    others = [r for r in measured if r is not chosen]
    return Decision(
        verdict,
        chosen.rung,
        _why(verdict, judged[chosen.rung], goal, len(meeting)) + broken + (f" The judge: {judge}." if judge else ""),
        (*judged.values(), *failed),
        _comparisons(chosen, others, rows),
    )


# --- one rung against the goal ----------------------------------------------------------------------------------------


def _verdict(record: Record, goal: GoalLike, share: float, rows: _Rows, stage: InterimAnalysis | None, doubt: str) -> RungVerdict:
    scores = _scores(record)
    assert scores.metric == goal.metric, f"{record.rung} was scored by {scores.metric}, the goal is {goal.metric}"
    broken, unknown = _broken(record, goal, share), _unsettled(record, goal, share)
    share = stage.error if stage else share
    found = _bounds(scores, share, rows, stage)
    seen, due = f"{scores.metric} {found}, {scores.split}", _number(goal.at_least)
    missing = (
        f"{len(scores.unscored)} of {len(scores.ids)} rows have no score ({scores.unscored[0].why})" if scores.unscored else ""
    )
    seen += f", {missing}" if missing else ""
    if found.high < goal.at_least and not doubt:
        broken = (f"its upper bound is under {due}", *broken)
    if broken:
        return RungVerdict(record.rung, "fails", f"{seen}: {'; '.join(broken)}")
    if doubt:
        return RungVerdict(record.rung, "undecided", f"{seen}: {doubt}")
    if found.low < goal.at_least and missing:
        return RungVerdict(record.rung, "undecided", f"{seen}: fix that and climb again", unmeasured=True)
    if found.low < goal.at_least and stage and not stage.last:
        given_up = f"given up after {stage.rows} of {stage.of} rows: all of them would hardly show that it reaches {due}"
        return RungVerdict(record.rung, "undecided", f"{seen}: {given_up}")
    if found.low < goal.at_least:
        plain = rows.clusters(scores.ids) is None and is_binary(scores.per_row) and _corpus(scores) is None
        more = _more_rows(found, goal.at_least, share, plain)
        advice = (
            f"label about {more} more rows"
            if more + found.n < stats.MAX_ROWS
            else "it is too close for any practical number of rows to decide"
        )
        return RungVerdict(record.rung, "undecided", f"{seen}: {due} lies between its bounds; {advice}", more)
    if unknown:
        return RungVerdict(record.rung, "undecided", f"{seen}: it reaches {due}, but {'; '.join(unknown)}")
    return RungVerdict(record.rung, "meets", f"{seen}: its lower bound reaches {due}")


def _unmeasured(record: Record) -> RungVerdict:
    return RungVerdict(record.rung, "undecided", f"could not be measured: {record.reason.rstrip('.')}", unmeasured=True)


def _bounds(scores: Scores, share: float, rows: _Rows, stage: InterimAnalysis | None) -> Interval:
    """The score between two one-sided bounds, each with error `share`."""
    truth, clusters = rows.truth(scores), rows.clusters(scores.ids)

    def between(values: Sequence[float], outputs: Sequence[str]) -> Interval:
        if stage:
            return bounds(values, stage, clusters, bool((metric := TABLE.get(scores.metric)) and metric.binary))
        return interval(values, _corpus(scores), outputs, truth, clusters, confidence=1 - 2 * share)

    return with_unscored(between, scores, truth)


def _more_rows(bounds: Interval, goal: float, share: float, plain: bool) -> int:
    """Additional rows until a bound reaches the goal, at the present score; the margin shrinks as 1/sqrt(n)."""
    gap = abs(bounds.value - goal)
    if plain or gap == 0:
        return max(1, stats.rows_needed(bounds.value, goal, share) - bounds.n)
    margin = bounds.value - bounds.low if bounds.value > goal else bounds.high - bounds.value
    return max(1, min(stats.MAX_ROWS, round(bounds.n * (margin / gap) ** 2)) - bounds.n)


def _sides(record: Record, goal: GoalLike) -> list[tuple[str, float | None, float, str]]:
    """(what, measured, limit, unit) of each limit in the goal other than the score."""
    cost, latency = record.cost, record.latency
    sides: tuple[tuple[str, float | None, float | None, str], ...] = (
        ("p95 latency", latency.p95.value if latency else None, goal.latency_ms, "ms"),
        ("cost per 1,000 calls", cost.per_1k_usd if cost else None, goal.usd_per_1k, "USD"),
        ("cost a month", cost.per_month_usd if cost else None, goal.usd_per_month, "USD"),
    )
    return [(what, seen, limit, unit) for what, seen, limit, unit in sides if limit is not None]


def _broken(record: Record, goal: GoalLike, share: float) -> tuple[str, ...]:
    """The limits that the rung exceeds, each as a reason."""
    over = tuple(
        f"{what} {_number(seen)} {unit} is over {_number(limit)} {unit}"
        for what, seen, limit, unit in _sides(record, goal)
        if seen is not None and seen > limit
    )
    rise, most = _rise(record, goal, share)
    return (*over, f"its loss on general text rises by {rise} nats a token, over {_number(most)}") if rise.low > most else over


def _unsettled(record: Record, goal: GoalLike, share: float) -> tuple[str, ...]:
    """The limits that the measurements do not settle, each as a reason."""
    unmeasured = tuple(
        f"{what} was not measured (limit {_number(limit)} {unit})"
        for what, seen, limit, unit in _sides(record, goal)
        if seen is None
    )
    rise, most = _rise(record, goal, share)
    if rise.low <= most < rise.high:
        between = f"its loss on general text rises by {rise} nats a token, and {_number(most)} lies between these bounds"
        return (*unmeasured, f"{between}; name more general text under data.general")
    return unmeasured


def _rise(record: Record, goal: GoalLike, share: float) -> tuple[Interval, float]:
    """Forgetting between two one-sided bounds, and its limit. A rung that changed no weights has forgotten nothing."""
    if goal.max_forgetting is None or record.forgetting is None:
        return Interval(0.0, 0.0, 0.0, 0), float("inf")
    return forgetting.bounds(record.forgetting, share), goal.max_forgetting


# --- choosing ---------------------------------------------------------------------------------------------------------


def _price(record: Record) -> tuple[float, float, float]:
    """Dollars a month with one-off costs spread over 12, to the cent; then p50 in ms; then forgetting.

    Unmeasured costs and latencies count as infinite; a rung without a forgetting measurement changed no weights.
    """
    cost, latency = record.cost, record.latency
    monthly = round(cost.per_month_usd + cost.once_usd / 12, 2) if cost else float("inf")
    speed = round(latency.p50.value) if latency else float("inf")
    return monthly, speed, record.forgetting.rise if record.forgetting else 0.0


def _best_or_cheaper(candidates: Sequence[Record], alpha: float, rows: _Rows) -> Record:
    """The cheapest rung that is not significantly worse than the one with the best score."""
    best = min(candidates, key=lambda r: (-_scores(r).overall.value, _price(r)))
    cheaper = [r for r in candidates if _price(r) < _price(best)]
    compared = _comparisons(best, cheaper, rows)
    alike = [r for r, c in zip(cheaper, compared, strict=True) if c.p_value >= alpha]
    return min([*alike, best], key=_price)


def _why(verdict: Verdict, chosen: RungVerdict, goal: GoalLike, meeting: int) -> str:
    aim = f"{goal.metric} >= {_number(goal.at_least)}"
    seen = chosen.why.removeprefix(f"{goal.metric} ")
    if verdict == "meets":
        rank = f"it is the cheapest of {meeting} rungs that do" if meeting > 1 else "it is the only rung that does"
        return f"{chosen.rung} meets {aim}: {seen.partition(': ')[0]}; {rank}."
    opening = "No rung is shown to meet" if verdict == "undecided" else "No rung meets"
    return f"{opening} {aim}; {chosen.rung} is the one to go on with, the best or as good and cheaper: {seen}."


# --- comparing on the same rows ---------------------------------------------------------------------------------------


def compare(
    a: Record,
    b: Record,
    references: References | None = None,
    groups: Mapping[str, str] | None = None,
) -> Comparison:
    """Two measured rungs on the rows that both answered; the p-value is of this one comparison."""
    return _compare(a, b, _Rows(references, groups))


def _comparisons(a: Record, others: Sequence[Record], rows: _Rows) -> tuple[Comparison, ...]:
    raw = [_compare(a, b, rows) for b in others]
    adjusted = stats.holm([c.p_value for c in raw])
    return tuple(replace(c, p_value=p) for c, p in zip(raw, adjusted, strict=True))


def _compare(first: Record, second: Record, rows: _Rows) -> Comparison:
    """Two rungs on the rows that both answered: McNemar for right/wrong, resampling for the rest and for clusters.

    For graded metrics `only_a` counts the rows on which a scored higher.
    """
    a, b = _shared(_scores(first), _scores(second))
    only_a = sum(x > y for x, y in zip(a.per_row, b.per_row, strict=True))
    only_b = sum(x < y for x, y in zip(a.per_row, b.per_row, strict=True))
    corpus, clusters = _corpus(a), rows.clusters(a.ids)
    if not a.ids or (corpus is None and clusters is None and is_binary(a.per_row + b.per_row)):
        difference = stats.paired_difference(only_a, only_b, len(a.ids))
        p_value = stats.mcnemar_mid_p(only_a, only_b)
    elif corpus is None:
        difference = resample.paired_bootstrap(a.per_row, b.per_row, clusters)
        p_value = resample.sign_flip(a.per_row, b.per_row, clusters)
    else:
        left, right = (corpus.columns(s.outputs, rows.truth(s)) for s in (a, b))
        difference = resample.paired_bootstrap(left, right, clusters, corpus.statistic)
        p_value = resample.sign_flip(left, right, clusters, corpus.statistic)
    return Comparison(first.rung, second.rung, difference, p_value, only_a, only_b)


def _shared(a: Scores, b: Scores) -> tuple[Scores, Scores]:
    """Both on the rows that both have scored, in the order of `a`; `overall` is unchanged."""
    missing = {row.id for row in (*a.unscored, *b.unscored)}
    in_b = {row: i for i, row in enumerate(b.ids)}
    left = [i for i, row in enumerate(a.ids) if row in in_b and row not in missing]
    return _rows_of(a, left), _rows_of(b, [in_b[a.ids[i]] for i in left])


def _rows_of(scores: Scores, rows: Sequence[int]) -> Scores:
    return replace(
        scores,
        ids=tuple(scores.ids[i] for i in rows),
        per_row=tuple(scores.per_row[i] for i in rows),
        outputs=tuple(scores.outputs[i] for i in rows) if scores.outputs else (),
    )


def _scores(record: Record) -> Scores:
    assert record.scores is not None, f"{record.rung} has no scores"
    return record.scores


def _corpus(scores: Scores) -> resample.Corpus | None:
    metric = TABLE.get(scores.metric)
    return metric.corpus if metric else None


def _number(value: float) -> str:
    """0.80 for a share or cents, 300 for milliseconds; more digits if needed."""
    return f"{value:.2f}" if round(value, 2) == value <= 1 else f"{value:.6g}"
