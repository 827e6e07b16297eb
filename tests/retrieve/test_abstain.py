"""The threshold of evidence: worth its cost on questions not seen, and none where evidence does not tell."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.retrieve.abstain import Weighed, auc, threshold

EVIDENCE = st.floats(0, 1)


def drawn(rng: np.random.Generator, n: int, apart: float, missed: float = 0.0) -> list[Weighed]:
    """Questions whose evidence is normal, `apart` standard deviations higher with their passages there."""
    there, gone = rng.normal(5 + apart, 1, n), rng.normal(5, 1, n)
    return [Weighed(float(a), bool(rng.random() >= missed), float(b)) for a, b in zip(there, gone)]


def treated_right(least: float, asked: list[Weighed], unanswerable: float) -> float:
    answered = np.mean([(one.there >= least) == one.found for one in asked])
    return float((1 - unanswerable) * answered + unanswerable * np.mean([one.gone < least for one in asked]))


def test_evidence_that_tells_is_used_and_refuses_what_has_no_passage() -> None:
    found = threshold(drawn(np.random.default_rng(0), 300, apart=8.0), 0.05)
    assert found.least > 0 and found.answered.value > 0.98 and found.refused.value > 0.95
    assert found.auc.low > 0.99 and found.auc.n == 300


def test_evidence_that_does_not_tell_is_not_used() -> None:
    found = threshold(drawn(np.random.default_rng(0), 300, apart=0.0), 0.05)
    assert (found.least, found.gain) == (0.0, 0.0) and found.answered.value == 1.0 and found.refused.value == 0.0
    assert found.auc.low < 0.5 < found.auc.high


def test_the_smallest_of_a_handful_is_no_safe_bound() -> None:
    """Of 8 questions a threshold at the least one refuses one new question in nine: dearer than the one in twenty it spares."""
    few = [Weighed(0.9 + i / 100, True, 0.1) for i in range(8)]
    assert threshold(few, 0.05).least == 0.0
    assert threshold(few, 0.5).least == 0.9
    assert threshold(few * 5, 0.05).least == 0.9
    assert threshold(few[:1], 0.5).auc is None


def test_questions_whose_passage_was_not_found_are_better_refused() -> None:
    rng = np.random.default_rng(0)
    weak = [Weighed(float(value), False, float(value)) for value in rng.uniform(0.0, 0.3, 60)]
    strong = [Weighed(float(value), True, float(value) - 0.1) for value in rng.uniform(0.6, 0.9, 60)]
    found = threshold([*weak, *strong], 0.0)
    assert 0.3 < found.least <= 0.65 and found.gain > 0.45


@pytest.mark.parametrize("apart", [0.5, 1.0, 2.0, 4.0])
def test_on_new_questions_it_is_not_worse_than_asking_always(apart: float) -> None:
    rng = np.random.default_rng(1)
    gains = []
    for _ in range(80):
        least = threshold(drawn(rng, 60, apart, missed=0.05), 0.05).least
        new = drawn(rng, 2000, apart, missed=0.05)
        gains.append(treated_right(least, new, 0.05) - treated_right(-np.inf, new, 0.05))
    assert np.mean(gains) > -0.003


@given(st.lists(st.builds(Weighed, EVIDENCE, st.just(True), EVIDENCE), min_size=2, max_size=30))
def test_the_area_is_the_share_of_pairs_in_order(asked: list[Weighed]) -> None:
    pairs = [(a.there > b.gone) + 0.5 * (a.there == b.gone) for a in asked for b in asked]
    found = auc(asked)
    assert found.value == pytest.approx(np.mean(pairs)) and 0 <= found.low <= found.value <= found.high <= 1


def test_the_area_s_interval_holds_what_it_says() -> None:
    rng, held = np.random.default_rng(2), 0
    for _ in range(100):
        shared = rng.normal(0, 1, 60)  # a hard question is hard with its passage and without
        asked = [Weighed(float(s + a + 1), True, float(s + b)) for s, a, b in zip(shared, *rng.normal(0, 1, (2, 60)))]
        found = auc(asked)
        held += found.low <= 0.6914624612740131 <= found.high  # P(N(1, 2) > N(0, 2)), the two drawn apart
    assert held >= 88
