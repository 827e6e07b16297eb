"""The decision on hand-made records: verdicts, ties, limits, shared error, comparisons."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from rung.claims import exact
from rung.climbing.decide import decide, next_rung
from rung.climbing.held import Proof
from rung.metrics import interval, stats
from rung.metrics.classify import macro_f1
from rung.types import Cost, Forgetting, Interval, Latency, Record, Scores


@dataclass(frozen=True)
class Goal:
    at_least: float = 0.8
    metric: str = "accuracy"
    latency_ms: float | None = None
    usd_per_1k: float | None = None
    usd_per_month: float | None = None
    max_forgetting: float | None = None
    coverage: float | None = None


def scored(rung: str, per_row: Sequence[float], metric: str = "accuracy", **fields: object) -> Record:
    rows = tuple(float(v) for v in per_row)
    ids = tuple(f"row {i}" for i in range(len(rows)))
    scores = Scores(metric, "dev", interval(rows), ids, rows)
    return Record(rung, "done", scores=scores, **{"cost": Cost(), "latency": ms(50), **fields})  # type: ignore[arg-type]


def right(rung: str, k: int, n: int = 200, **fields: object) -> Record:
    return scored(rung, [1] * k + [0] * (n - k), **fields)


def ms(p50: float, p95: float | None = None) -> Latency:
    last = p95 or 2 * p50
    return Latency(Interval(p50, p50, p50, 30), Interval(last, last, last, 30))


def month(usd: float, once: float = 0.0) -> Cost:
    return Cost(per_month_usd=usd, once_usd=once)


# --- verdicts ---------------------------------------------------------------------------------------------------------


def test_the_cheapest_that_meets_is_chosen_not_the_best() -> None:
    records = [
        right("zero-shot", 100, cost=month(1)),
        right("few-shot", 182, cost=month(2)),
        right("lora", 190, cost=month(3)),
    ]
    found = decide(records, Goal())
    assert (found.verdict, found.chosen) == ("meets", "few-shot")
    assert [v.verdict for v in found.rungs] == ["fails", "meets", "meets"]
    assert found.claim and found.claim.at_least == pytest.approx(exact.lower(182, 200, found.rungs[1].level))
    least = math.floor(1000 * found.claim.at_least) / 1000
    told = f"accuracy at least {least:g} with 95% confidence, from 200 dev rows"
    assert found.why == f"few-shot meets accuracy >= 0.80: {told}; it is the cheapest of 2 rungs that do."
    assert found.rungs[0].why.endswith("its upper bound is under 0.80")


def test_a_baseline_that_meets_is_the_answer() -> None:
    found = decide([right("nearest", 180, cost=month(0)), right("lora", 199, cost=month(5))], Goal())
    assert found.chosen == "nearest"


def fewest(n: int, goal: float, error: float) -> int:
    """By the definition of an exact test."""
    return next(k for k in range(n + 1) if binom.sf(k - 1, n, goal) <= error)


def test_bounds_are_exact_at_the_shared_error() -> None:
    k = fewest(200, 0.8, 0.048)  # a twenty-fifth of the error is for the screening
    alone = right("a", k)
    assert decide([alone], Goal()).verdict == "meets"
    assert decide([right("a", k - 1)], Goal()).verdict == "undecided"
    assert decide([alone], Goal(0.803)).verdict == "undecided"
    near = [right(f"near {i}", 158) for i in range(4)]
    assert decide([alone, *near], Goal()).verdict == "undecided"  # the same score, five tries that could have passed
    assert decide([right("a", fewest(200, 0.8, 0.048 / 5)), *near], Goal()).verdict == "meets"
    assert decide([alone], Goal(), planned=5).verdict == "undecided"  # tries still to come count too
    assert decide([alone, *near], Goal(), planned=2).rungs == decide([alone, *near], Goal()).rungs


def test_rungs_that_are_far_below_the_goal_leave_their_error_to_the_others() -> None:
    k = fewest(200, 0.8, 0.048)
    assert decide([right("a", k), *(right(f"hopeless {i}", 20) for i in range(9))], Goal()).verdict == "meets"


def test_sealed_rows_prove_and_dev_rows_alone_do_not() -> None:
    dev, sealed = right("a", 96, 100), [1.0] * 92 + [0.0] * 8
    found = decide([dev], Goal(), sealed=100)
    assert (found.verdict, found.claim) == ("undecided", None)
    chance = found.rungs[0].chance
    assert chance is not None and chance > 0.99 and next_rung(found, [dev], 0, True) == "a"
    ids = tuple(f"sealed {i}" for i in range(100))
    test = Scores("accuracy", "test", interval(sealed), ids, tuple(sealed))
    proved = decide([dev], Goal(), sealed=100, proofs={"a": Proof(test)})
    assert proved.verdict == "meets" and proved.claim
    assert (proved.claim.dev, proved.claim.sealed, proved.claim.alone) == (100, 100, test.overall)
    assert proved.claim.at_least == pytest.approx(exact.lower(188, 200, proved.rungs[0].level))
    assert "from 100 dev rows that chose it and 100 sealed rows; on the sealed rows alone 0.920 [" in proved.why
    poor = replace(test, per_row=(1.0,) * 60 + (0.0,) * 40)
    failed = decide([dev], Goal(), sealed=100, proofs={"a": Proof(poor)})
    assert failed.verdict == "undecided" and "opened for it and do not prove it" in failed.why
    assert failed.claim and failed.claim.at_least < 0.8 and next_rung(failed, [dev], 1, True) is None


def test_what_was_not_measured_has_not_failed() -> None:
    found = decide([right("a", 20)], Goal(), left={"lora": "quoted 5.1 minutes to fit, 2.0 left of the budget"})
    assert (found.verdict, found.left, found.unmeasured) == ("undecided", ("lora",), True)
    assert "Not measured yet, so nothing is decided: lora (quoted 5.1 minutes to fit" in found.why
    met = decide([right("a", 199)], Goal(), left={"lora": "quoted 5.1 minutes"})
    assert (met.verdict, met.left, met.unmeasured) == ("meets", (), False)


def test_undecided_says_with_which_chance_more_rows_decide() -> None:
    near = decide([right("a", 166)], Goal()).rungs[0]
    assert 100 < near.more_rows < 5000 and "chance to decide with 100, 300 or 1,000 more: 0." in near.why
    closer = decide([right("a", 163)], Goal()).rungs[0]
    assert closer.more_rows > near.more_rows
    few = decide([right("a", 16, 20)], Goal(0.801)).rungs[0]  # anything may still come of twenty rows
    close = decide([right("a", 1601, 2000)], Goal()).rungs[0]
    assert close.more_rows == stats.MAX_ROWS > few.more_rows and "cannot be told apart in practice" in close.why


def test_nothing_measured() -> None:
    found = decide([Record("lora", "skipped", "no examples"), Record("full", "failed", "out of memory")], Goal())
    assert (found.verdict, found.chosen, found.comparisons) == ("undecided", "", ())
    assert [(one.rung, one.verdict) for one in found.rungs] == [("full", "undecided")] and found.unmeasured
    assert "full could not be measured: out of memory." in found.why
    assert "all 2 were skipped or failed" in found.why


def test_skipped_and_failed_rungs_take_no_share_of_the_error() -> None:
    measured = [right("a", 180), right("b", 150)]
    assert decide([*measured, Record("c", "skipped")], Goal()) == decide(measured, Goal())


def test_the_last_record_of_a_rung_counts() -> None:
    found = decide([right("a", 20), right("b", 100), right("a", 195)], Goal())
    assert found.chosen == "a" and len(found.rungs) == 2
    assert decide([right("a", 195), Record("a", "failed"), right("b", 100)], Goal()).chosen == "b"


def test_another_metric_than_the_goals_is_a_mistake() -> None:
    with pytest.raises(AssertionError, match="scored by token_f1, the goal is accuracy"):
        decide([scored("a", [0.5] * 9, "token_f1")], Goal())


# --- limits beside the score ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("goal", "record", "told"),
    [
        (Goal(latency_ms=300), right("a", 199, latency=ms(200, 420)), "p95 latency 420 ms is over 300 ms"),
        (Goal(usd_per_1k=0.2), right("a", 199, cost=Cost(per_1k_usd=0.25)), "cost per 1,000 calls 0.25 USD is over"),
        (Goal(usd_per_month=40), right("a", 199, cost=month(41)), "cost a month 41 USD is over 40 USD"),
    ],
)
def test_a_broken_limit_fails_the_rung(goal: Goal, record: Record, told: str) -> None:
    found = decide([record], goal)
    assert found.verdict == found.rungs[0].verdict == "fails"
    assert told in found.rungs[0].why
    assert decide([record], Goal()).verdict == "meets"


def test_a_limit_just_held_is_held() -> None:
    goal = Goal(latency_ms=300, usd_per_1k=0.2, usd_per_month=40)
    held = right("a", 199, latency=ms(100, 300), cost=Cost(per_1k_usd=0.2, per_month_usd=40))
    assert decide([held], goal).verdict == "meets"


def test_what_was_not_measured_is_not_taken_as_held() -> None:
    found = decide([right("a", 199, latency=None)], Goal(latency_ms=300))
    assert found.verdict == "undecided" and found.rungs[0].more_rows == 0
    assert "p95 latency was not measured" in found.rungs[0].why


def test_a_rung_over_a_limit_is_not_chosen_for_its_score() -> None:
    slow, fair = right("slow", 199, latency=ms(500)), right("fair", 130)
    assert decide([slow, fair], Goal(latency_ms=300)).chosen == "fair"
    undecided = right("near", 162)
    assert decide([slow, fair, undecided], Goal(latency_ms=300)).chosen == "near"


# --- choosing ---------------------------------------------------------------------------------------------------------


def test_ties_go_to_the_cheaper_then_the_faster_then_the_one_that_forgets_less() -> None:
    def forgot(rise: float) -> Forgetting:
        return Forgetting(Interval(rise, rise, rise, 9), Interval(0, 0, 0, 9), "nats a token", (rise,) * 9, (1,) * 9)

    a = right("a", 190, cost=month(3, once=12), latency=ms(80), forgetting=forgot(0.1))
    assert decide([a, right("b", 190, cost=month(3.5), latency=ms(900))], Goal()).chosen == "b"  # 3.5 < 3 + 12/12
    assert decide([a, right("b", 190, cost=month(4.5))], Goal()).chosen == "a"
    assert decide([a, right("b", 190, cost=month(4.004), latency=ms(70))], Goal()).chosen == "b"  # the same to a cent
    same = {"cost": month(4), "latency": ms(80.3)}
    assert decide([a, right("b", 190, forgetting=forgot(0.02), **same)], Goal()).chosen == "b"
    assert decide([a, right("b", 190, **same)], Goal()).chosen == "b"  # no weight touched, nothing forgotten
    assert decide([right("x", 190, cost=None), a], Goal()).chosen == "a"  # unknown is not cheap


def test_where_none_meets_the_best_unless_a_cheaper_is_not_shown_to_be_worse() -> None:
    best = right("lora", 120, cost=month(9))
    assert decide([right("zero-shot", 60, cost=month(1)), best], Goal()).chosen == "lora"
    found = decide([right("zero-shot", 60, cost=month(1)), right("few-shot", 117, cost=month(2)), best], Goal())
    assert (found.verdict, found.chosen) == ("fails", "few-shot")
    assert found.why.startswith("No rung meets accuracy >= 0.80; few-shot is the one to go on with")


def test_the_cheaper_is_held_to_holm() -> None:
    """Nine rows to one: p = 0.012 alone, 0.047 as one of four, 0.059 as one of five."""
    n = 100
    best = scored("best", [1] * 60 + [0] * 40, cost=month(9))

    def cheaper(i: int) -> Record:
        return scored(f"cheaper {i}", [0] * 9 + [1] * 51 + [1] + [0] * (n - 61), cost=month(i))

    p = stats.mcnemar_mid_p(9, 1)
    assert 4 * p < 0.05 < 5 * p
    assert decide([best, *map(cheaper, range(4))], Goal()).chosen == "best"
    assert decide([best, *map(cheaper, range(5))], Goal()).chosen == "cheaper 0"


# --- comparisons ------------------------------------------------------------------------------------------------------


def test_comparisons_are_paired_and_adjusted() -> None:
    chosen = right("a", 190, cost=month(1))
    b = scored("b", [0] * 20 + [1] * 175 + [0] * 5, cost=month(2))
    c = scored("c", [1] * 189 + [0] + [1] * 1 + [0] * 9, cost=month(3))
    first, second = decide([b, chosen, c], Goal(at_least=0.5)).comparisons
    assert (first.a, first.b, first.only_a, first.only_b) == ("a", "b", 20, 5)
    assert first.difference == stats.paired_difference(20, 5, 200)
    assert first.difference.value == pytest.approx(-15 / 200)
    assert first.p_value == pytest.approx(2 * stats.mcnemar_mid_p(20, 5))
    assert (second.only_a, second.only_b, second.p_value) == (1, 1, pytest.approx(1.0))


def test_comparisons_take_only_rows_that_both_hold_whatever_their_order() -> None:
    a = right("a", 190)
    assert a.scores
    part = replace(a.scores, ids=("row 199", "row 3", "unknown"), per_row=(1.0, 1.0, 1.0))
    found = decide([a, Record("b", "done", scores=part)], Goal(at_least=0.5)).comparisons[0]
    assert (found.difference.n, found.only_a, found.only_b) == (2, 0, 1)
    alone = replace(part, ids=("x", "y", "z"))
    apart = decide([a, Record("b", "done", scores=alone)], Goal(at_least=0.5)).comparisons[0]
    assert (apart.difference, apart.p_value) == (Interval(0.0, -1.0, 1.0, 0), 1.0)


# --- graded metrics, whole-set metrics, clusters ----------------------------------------------------------------------


def test_a_graded_metric_is_decided_by_bootstrap() -> None:
    rng = np.random.default_rng(0)
    good, poor = rng.uniform(0.6, 1.0, 150), rng.uniform(0.3, 0.7, 150)
    found = decide([scored("good", good, "token_f1"), scored("poor", poor, "token_f1")], Goal(0.7, "token_f1"))
    assert [v.verdict for v in found.rungs] == ["meets", "fails"]
    gap = found.comparisons[0]
    assert gap.p_value < 0.001 and gap.difference.high < -0.2 and gap.difference.n == 150
    near = decide([scored("good", good, "token_f1")], Goal(float(good.mean()) - 0.008, "token_f1")).rungs[0]
    assert near.verdict == "undecided" and 10 < near.more_rows < 5000


def test_macro_f1_is_recomputed_from_the_outputs() -> None:
    truth = {f"row {i}": "rare" if i % 10 == 0 else "common" for i in range(200)}

    def answering(rung: str, outputs: list[str]) -> Record:
        hits = [float(o == t) for o, t in zip(outputs, truth.values(), strict=True)]
        record = scored(rung, hits, "macro_f1")
        assert record.scores
        overall = replace(record.scores.overall, value=macro_f1(outputs, list(truth.values())))
        return replace(record, scores=replace(record.scores, outputs=tuple(outputs), overall=overall))

    majority = answering("majority", ["common"] * 200)
    trained = answering("lora", list(truth.values()))
    found = decide([majority, trained], Goal(0.8, "macro_f1"), references=truth)
    assert [v.verdict for v in found.rungs] == ["fails", "meets"]  # the majority's accuracy of 0.9 does not help it
    assert "macro_f1 0.474 [" in found.rungs[0].why
    assert found.comparisons[0].difference.value == pytest.approx(0.4737 - 1, abs=1e-4)
    assert (found.comparisons[0].only_a, found.comparisons[0].only_b) == (20, 0)
    with pytest.raises(AssertionError, match="pass references"):
        decide([majority], Goal(0.8, "macro_f1"))


def test_clusters_make_bounds_and_tests_wider() -> None:
    groups = {f"row {i}": f"customer {i // 10}" for i in range(200)}
    a, b = right("a", 180, cost=month(1)), right("b", 150, cost=month(2))
    free, grouped = decide([a, b], Goal()), decide([a, b], Goal(), groups=groups)
    assert free.verdict == "meets" and grouped.verdict == "undecided"
    assert free.comparisons[0].p_value < 0.001 < 0.1 < grouped.comparisons[0].p_value
    assert decide([a, b], Goal(), groups=dict.fromkeys(groups, "")) == free


# --- properties -------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 3)), min_size=1, max_size=5), st.sampled_from([0.3, 0.6, 0.9]))
def test_the_decision_hangs_together_and_not_on_the_order(rungs: list[tuple[int, int]], goal: float) -> None:
    records = [right(f"rung {i}", k, 60, cost=month(usd), latency=ms(i + 1)) for i, (k, usd) in enumerate(rungs)]
    found, turned = decide(records, Goal(goal)), decide(records[::-1], Goal(goal))
    shares = [{v.rung: v.level for v in one.rungs} for one in (found, turned)]
    assert min(shares[0].values()) == min(shares[1].values()), "the plan's order gives the first rungs the rest of the error"
    if shares[0] == shares[1]:
        assert (found.verdict, found.chosen) == (turned.verdict, turned.chosen)
    told = {v.rung: v for v in found.rungs}
    assert told[found.chosen].verdict == found.verdict
    assert all(v.more_rows > 0 for v in found.rungs if v.verdict == "undecided")
    assert {c.b for c in found.comparisons} == set(told) - {found.chosen}
    assert all(c.a == found.chosen for c in found.comparisons)


@pytest.mark.parametrize("rate", [0.8, 0.9])
def test_short_rungs_are_seldom_called_good(rate: float) -> None:
    """Six rungs that all fall just short: one of them may be said to meet in at most about alpha of the tries."""
    rng, tries = np.random.default_rng(1), 300
    met = 0
    for _ in range(tries):
        records = [scored(f"rung {m}", rng.random(120) < rate - 0.001) for m in range(6)]
        met += any(v.verdict == "meets" for v in decide(records, Goal(rate)).rungs)
    assert met / tries <= 0.05 + 0.02
