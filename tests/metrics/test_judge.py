"""Judges: both orders, failures, and how far they agree with people before they may decide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from rung.errors import RungError
from rung.lm.asking import asking
from rung.lm.base import Choice
from rung.lm.fake import FakeEngine
from rung.metrics.judge import Answered, Ask, Pair, Pairwise, Rubric, kappa, trust, verdict
from rung.types import Message

PAIRS = [Pair(f"q{i}", "a" * (1 + i % 7), "a" * (1 + (3 * i) % 5)) for i in range(80)]
Chats = Sequence[tuple[Message, ...]]


def length(chats: Chats, options: Sequence[str]) -> list[str | None]:
    """An honest judge: the longer answer is the better."""
    out: list[str | None] = []
    for chat in chats:
        one, two = (len(part.split("\n")[1]) for part in chat[1].content.split("\n\n")[1:])
        out.append("1" if one > two else "2" if two > one else "tie")
    return out


def longer(pair: Pair) -> str:
    first, second = len(pair.first), len(pair.second)
    return "first" if first > second else "second" if second > first else "tie"


def always(mark: str | None) -> Ask:
    return lambda chats, options: [mark] * len(chats)


def judge(ask: Ask) -> Pairwise:
    return Pairwise(ask, "m", "The longer is the better.")


def test_both_orders_are_asked_and_a_change_of_mind_is_a_tie() -> None:
    assert judge(length)(PAIRS) == [longer(pair) for pair in PAIRS]
    assert set(judge(always("1"))(PAIRS)) == {"tie"}, "it looks at the place alone"
    assert set(judge(always("tie"))(PAIRS)) == {"tie"}
    assert set(judge(always(None))(PAIRS)) == set(judge(always("maybe"))(PAIRS)) == {"failed"}


def test_one_failed_order_fails_the_pair() -> None:
    def half(chats: Chats, options: Sequence[str]) -> list[str | None]:
        return [*length(chats, options)[: len(chats) // 2], *[None] * (len(chats) // 2)]

    assert set(judge(half)(PAIRS)) == {"failed"}


def test_a_judge_is_trusted_as_far_as_it_agrees() -> None:
    marked = [(pair, longer(pair)) for pair in PAIRS]
    good = trust(judge(length), marked)
    assert good.trusted and good.kappa.value == 1.0 and 0.8 < good.kappa.low < 1.0 and good.same.value == 1.0
    blind = trust(judge(always("1")), marked)
    assert not blind.trusted and blind.kappa.value == 0.0
    with pytest.raises(RungError, match=r"lower bound must reach 0\.4"):
        verdict(judge(always("1")), PAIRS, blind)
    few = trust(judge(length), marked[:4])
    assert few.kappa.value == 1.0 and not few.trusted, "four rows show nothing"


def test_failures_count_against_a_judge_and_widen_its_verdict() -> None:
    def sometimes(share: int) -> Ask:
        def ask(chats: Chats, options: Sequence[str]) -> list[str | None]:
            rows = len(chats) // 2
            return [None if (i % rows) % share == 0 else said for i, said in enumerate(length(chats, options))]

        return ask

    marked = [(pair, longer(pair)) for pair in PAIRS]
    often = trust(judge(sometimes(2)), marked)
    assert often.failed == 40 and often.same.value == 0.5 and not often.trusted
    trusted = trust(judge(sometimes(10)), marked)
    assert trusted.trusted and trusted.failed == 8
    whole, holes = verdict(judge(length), PAIRS, trust(judge(length), marked)), verdict(judge(sometimes(10)), PAIRS, trusted)
    assert holes.failed == 8 and holes.score.n == whole.score.n == 80
    assert holes.score.high - holes.score.low > whole.score.high - whole.score.low + 0.05
    assert holes.score.low < whole.score.value < holes.score.high


def test_an_agreement_is_of_one_judge_only() -> None:
    one = judge(length)
    agreement = trust(one, [(pair, longer(pair)) for pair in PAIRS])
    for other in (replace(one, model="n"), replace(one, criterion="The shorter is.")):
        with pytest.raises(RungError, match="another judge"):
            verdict(other, PAIRS, agreement)


def test_marks_that_are_none_are_refused() -> None:
    for marked in ([(PAIRS[0], "better")], []):
        with pytest.raises(RungError, match="mark"):
            trust(judge(length), marked)


def test_a_rubric_gives_near_marks_near_credit() -> None:
    rows = [Answered(f"q{i}", "a" * (i % 5)) for i in range(100)]

    def off_by(error: int) -> Ask:
        def ask(chats: Chats, options: Sequence[str]) -> list[str | None]:
            true = [chat[1].content.rpartition("\n")[2].count("a") for chat in chats]
            return [options[min(4, mark + error)] for mark in true]

        return ask

    marked = [(row, str(1 + len(row.answer))) for row in rows]
    exact, near, far = (trust(Rubric(off_by(error), "m", "Length."), marked) for error in (0, 1, 3))
    assert exact.kappa.value == 1.0 > near.kappa.value > 0.6 > far.kappa.value
    assert near.trusted and not far.trusted and near.same.value < 0.5
    found = verdict(Rubric(off_by(0), "m", "Length."), rows, exact)
    assert found.score.value == pytest.approx(0.5) and found.score.low < 0.5 < found.score.high and found.failed == 0


@given(st.lists(st.tuples(st.sampled_from("123"), st.sampled_from("123")), min_size=4, max_size=30), st.booleans())
def test_kappa_is_that_of_scikit_learn(rows: list[tuple[str, str]], ordered: bool) -> None:
    people, said = [a for a, _ in rows], [b for _, b in rows]
    found = kappa(people, said, "123", ordered=ordered)
    assert -1 <= found.low <= found.value <= found.high <= 1 and found.n == len(rows)
    if len(set(people + said)) > 1:
        weights = "quadratic" if ordered else None
        assert found.value == pytest.approx(cohen_kappa_score(people, said, labels=list("123"), weights=weights), abs=1e-9)


def test_an_engine_as_a_judge() -> None:
    class Broken(FakeEngine):
        def choose(self, prompts, labels, progress=None):  # type: ignore[no-untyped-def]
            found = super().choose(prompts, labels, progress)
            return [Choice("", 0.0, None, error="no answer"), Choice("perhaps", 0.0, None), *found[2:]]

    assert set(judge(asking(FakeEngine()))(PAIRS)) <= {"first", "second", "tie"}
    assert judge(asking(Broken()))(PAIRS)[:3].count("failed") == 2
