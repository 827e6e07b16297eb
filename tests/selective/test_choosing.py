"""Thresholds: the number of rows to answer, ties, calibration, the area under the curve."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from rung.predictor import Threshold, sure
from rung.selective import choosing
from rung.selective.choosing import Asked
from rung.types import Prediction


def asked(n: int = 400, seed: int = 0, slope: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Confidences, and whether each row is right: with the chance that the confidence says, its log-odds times `slope`."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(1.5, 2.0, n)
    return 1 / (1 + np.exp(-odds)), (rng.random(n) < 1 / (1 + np.exp(-slope * odds))).astype(float)


def test_the_threshold_lies_above_both_goals_if_it_can() -> None:
    confidences, scores = asked(2000)
    found = Asked.of(confidences, scores)
    answered = choosing.for_goal(found, 0.9, 0.5, held=400)
    cut = found.at(answered)
    given_ = confidences >= cut
    assert given_.sum() == answered
    assert scores[given_].mean() > 0.9 and given_.mean() > 0.5
    margins = [(scores[given_].mean() - 0.9) / (0.3 / np.sqrt(400 * given_.mean())), (given_.mean() - 0.5) / (0.5 / 20)]
    assert abs(margins[0] - margins[1]) < 0.4, "the smaller margin is largest where both are about equal"


def test_a_rung_that_is_always_right_answers_every_row() -> None:
    found = Asked.of([0.9, 0.6, 0.3], [1.0, 1.0, 1.0])
    assert choosing.for_goal(found, 0.8, 0.5, held=100) == 3
    assert found.at(3) == 0.0, "and every less sure one to come"


def test_rows_that_are_equally_sure_are_answered_together_or_not_at_all() -> None:
    assert Asked.of([0.5, 0.5, 0.5, 0.9], [1, 0, 1, 1]).cuts == [1, 4]
    assert Asked.of([0.5, float("-inf"), 0.9], [1, 0, 1]).cuts == [1, 2], "rows left open are never answered"


def drawn(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Confidences of a cheap rung, right in 0.84 of the rows, and scores of both; the dear one is right in 0.94."""
    sure_of = rng.beta(2.2, 0.42, n)
    wrong = np.where(sure_of < 0.7, 0.151, 0.038)
    return sure_of, (rng.random(n) < sure_of).astype(float), (rng.random(n) > wrong).astype(float)


def blended(margin: float, monkeypatch: pytest.MonkeyPatch) -> float:
    """Mean difference of a cascade to its dear rung on new rows, the threshold chosen on 300 others."""
    monkeypatch.setattr(choosing, "MARGIN", margin)
    rng = np.random.default_rng(0)
    new, cheap, dear = drawn(50_000, rng)
    found = []
    for _ in range(200):
        _, at = choosing.for_cascade(*drawn(300, rng))
        found.append(np.where(new >= at, cheap, dear).mean() - dear.mean())
    return float(np.mean(found))


def test_a_cascade_scores_on_new_rows_as_its_dear_rung(monkeypatch: pytest.MonkeyPatch) -> None:
    assert blended(choosing.MARGIN, monkeypatch) > -0.002
    assert blended(0.0, monkeypatch) < -0.004, "the lowest threshold without a margin is a lucky one"


def test_a_cheap_rung_that_is_as_good_on_every_row_answers_all() -> None:
    scores = [1.0, 0.0, 1.0, 0.5]
    assert choosing.for_cascade([0.9, 0.8, 0.7, 0.6], scores, scores) == (4, 0.0)
    assert choosing.for_cascade([0.9] * 50, [0.9] * 50, [0.6] * 50) == (50, 0.0)
    assert choosing.for_cascade([0.9, 0.8], [0.0, 0.0], [1.0, 1.0]) == (0, choosing.NEVER)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=2, max_size=60))
def test_the_area_under_the_curve_is_that_of_scikit_learn(rows: list[tuple[float, bool]]) -> None:
    confidences, right = [one for one, _ in rows], [float(one) for _, one in rows]
    if len(set(right)) < 2:
        assert choosing.auc(confidences, right) is None
    else:
        assert choosing.auc(confidences, right) == pytest.approx(roc_auc_score(right, confidences))


def test_confidences_that_are_too_high_are_calibrated_and_keep_their_order() -> None:
    confidences, scores = asked(3000, slope=0.4)
    slope, shift = choosing.calibration(confidences, scores)
    assert slope == pytest.approx(0.4, abs=0.08)
    after = choosing.calibrated(confidences, slope, shift)
    before, left = (choosing.calibration_error(one, scores) for one in (confidences, after))
    assert left < before / 3
    assert (np.argsort(after) == np.argsort(confidences)).all()


def test_confidences_that_are_right_are_left_alone() -> None:
    chosen = [choosing.calibration(*asked(600, seed)) for seed in range(5)]
    assert (1.0, 0.0) in chosen
    assert all(slope == pytest.approx(1.0, abs=0.25) for slope, _ in chosen)


def test_under_the_threshold_stands_the_guess_with_its_calibrated_confidence() -> None:
    cut = Threshold(0.7, slope=2.0)
    answer = sure.given(Prediction("a", "refund", 0.8), cut)
    assert (answer.output, answer.abstained, answer.guess) == ("refund", "", "")
    assert answer.confidence == pytest.approx(16 / 17)
    guess = sure.given(Prediction("a", "refund", 0.55), cut)
    assert (guess.output, guess.guess) == ("", "refund")
    assert guess.abstained == "not sure: its confidence of 0.60 is under 0.70"
    assert "no confidence" in sure.given(Prediction("a", "refund"), cut).abstained
    failed = Prediction("a", "", error="no server")
    assert sure.given(failed, cut) is failed
    assert sure.given(answer, None) is answer
