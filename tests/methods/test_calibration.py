"""Calibration: what is divided out, and that the search with it stays exact."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rung import predictor as predictors
from rung.errors import BudgetError, RungError
from rung.lm.engines import Engines
from rung.machine import Machine
from rung.methods.base import Run
from rung.methods.calibrated import BLAND, Calibrated
from rung.methods.few_shot import FewShot
from rung.methods.reasoning import Reasoning
from rung.predictor import Calibration, Predictor
from rung.types import Example, TrainData

LABELS = ("delay", "other", "refund", "refund late")
ROWS = tuple(Example(f"the {LABELS[i % 4]} of parcel {'abcdefghijklmnopqr'[i]}", LABELS[i % 4]) for i in range(18))
DATA = TrainData(ROWS, LABELS)
ASKED = [Example(text, "") for text in ("where is it", "my money", "café", "x")]


@pytest.fixture(scope="module")
def engines(machine: Machine) -> Engines:
    return Engines(machine, say=lambda text: None)


@pytest.fixture(params=["llama", "bloom"])
def start(base: Callable[[str], Path], engines: Engines, request: pytest.FixtureRequest) -> Predictor:
    """On a model that takes a tree, and on one that does not."""
    return Predictor(kind="classify", model=engines.reference(str(base(request.param))), instruction="Sort.", labels=LABELS)


def run(engines: Engines, folder: Path, **more) -> Run:
    return Run(folder, engines, **more)


def odds(start: Predictor, rows: list[Example], engines: Engines) -> np.ndarray:
    """Probability of each label among the labels, by scoring them one by one."""
    engine = engines.open(start.model)
    logs = np.array([engine.score([prompt] * len(LABELS), LABELS) for prompt in start.prompts(rows, engines)])
    shares = np.exp(logs - logs.max(1, keepdims=True))
    return shares / shares.sum(1, keepdims=True)


def test_the_mean_over_what_was_asked_is_divided_out(start: Predictor, engines: Engines, tmp_path: Path) -> None:
    found = Calibrated(over="bland").fit(start, DATA, run(engines, tmp_path))
    bent = odds(start, [Example(text, "") for text in BLAND], engines).mean(0)
    assert np.exp(-np.array(found.calibration.bias)) * bent.max() == pytest.approx(bent, rel=1e-3)


def test_inputs_are_drawn_label_by_label_and_are_none_of_the_demonstrations(engines: Engines, start: Predictor, tmp_path) -> None:
    shown = replace(start, demos=predictors.Demos(fixed=ROWS[:2]))
    many = TrainData((*ROWS, *(Example(f"delay {i}", "delay") for i in range(40))), LABELS)
    drawn = Calibrated(rows=12)._rows(shown, many, run(engines, tmp_path))
    assert [sum(row.output == label for row in drawn) for label in LABELS] == [3, 3, 3, 3]
    assert not set(drawn) & set(ROWS[:2])


def test_the_answer_is_the_best_of_all_calibrated_scores(start: Predictor, engines: Engines, tmp_path: Path) -> None:
    found = Calibrated(rows=8).fit(start, DATA, run(engines, tmp_path))
    weighed = odds(start, ASKED, engines) * np.exp(found.calibration.bias)
    weighed /= weighed.sum(1, keepdims=True)
    for prediction, row in zip(found.predict(ASKED, engines), weighed):
        assert prediction.output == LABELS[int(row.argmax())]
        assert 0 < prediction.confidence <= row.max() + 1e-4


def test_a_bent_for_one_label_is_taken_out(start: Predictor, engines: Engines) -> None:
    """With a bias of 100 for a label it is answered to everything; the same bias for all changes nothing."""
    for label in range(len(LABELS)):
        forced = replace(start, calibration=Calibration(tuple(100.0 * (k == label) for k in range(4)), ""))
        assert {p.output for p in forced.predict(ASKED, engines)} == {LABELS[label]}
    even = replace(start, calibration=Calibration((3.0,) * 4, ""))
    assert [p.output for p in even.predict(ASKED, engines)] == [p.output for p in start.predict(ASKED, engines)]


def test_it_holds_behind_demonstrations_and_reasoning(start: Predictor, engines: Engines, tmp_path: Path) -> None:
    shown = FewShot(shots=3).fit(start, DATA, run(engines, tmp_path))
    thought = Reasoning(thought=6).fit(shown, DATA, run(engines, tmp_path))
    for before in (shown, thought):
        found = Calibrated(rows=4).fit(before, DATA, run(engines, tmp_path))
        predictors.save(found, tmp_path / "saved")
        assert predictors.load(tmp_path / "saved") == found
        assert found.digest != before.digest


def test_what_is_measured_on_one_prompt_is_not_used_with_another(start: Predictor, engines: Engines, tmp_path: Path) -> None:
    found = Calibrated(rows=4).fit(start, DATA, run(engines, tmp_path))
    with pytest.raises(RungError, match="last in the rung"):
        predictors.save(FewShot(shots=3).fit(found, DATA, run(engines, tmp_path)), tmp_path / "saved")


def test_a_model_that_tells_no_probabilities_is_refused(engines: Engines, start: Predictor, tmp_path: Path) -> None:
    with pytest.raises(RungError, match="probability of every label"):
        Calibrated().fit(replace(start, model=engines.reference("fake")), DATA, run(engines, tmp_path))


def test_no_time_is_an_error(start: Predictor, engines: Engines, tmp_path: Path) -> None:
    with pytest.raises(BudgetError):
        Calibrated().fit(start, DATA, run(engines, tmp_path, deadline=0.0))
