"""What the training methods share: held-back rows are scored by the task's metric on the weights as they are now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rung.lm.engines import Engines
from rung.machine import Machine
from rung.methods import tuning
from rung.methods.base import Run, rewarded
from rung.methods.lora import Lora
from rung.predictor import Predictor
from rung.types import Example, TrainData

ROWS = [Example(f"the parcel {i}", "late" if i % 2 else "refund") for i in range(8)]


@pytest.fixture
def start(base: Callable[[str], Path], machine: Machine) -> tuple[Predictor, Engines]:
    engines = Engines(machine, say=lambda text: None)
    model = engines.reference(str(base("llama")))
    return Predictor(kind="classify", model=model, instruction="?", labels=("late", "refund")), engines


def test_the_held_score_is_the_reward_of_the_weights_as_they_are(start: tuple[Predictor, Engines], tmp_path: Path) -> None:
    predictor, engines = start
    seen: list[str] = []

    def reward(answer: str, example: Example) -> float:
        seen.append(answer)
        return float(answer == "late")

    run = Run(tmp_path, engines, reward=reward)
    loaded = tuning.open_model(predictor, run)
    score = tuning._held(loaded, predictor, ROWS, run)
    assert score() == seen.count("late") / len(ROWS)
    before, seen[:] = list(seen), []
    with torch.no_grad():
        loaded.model.lm_head.weight.neg_()
    assert score() == seen.count("late") / len(ROWS)
    assert seen != before, "the engine answered with what it had kept of the old weights"


def test_a_second_fit_stands_on_the_first(start: tuple[Predictor, Engines], tmp_path: Path) -> None:
    predictor, engines = start
    lora, data = Lora(rank=2, epochs=1, batch=4), TrainData(tuple(ROWS), ("late", "refund"))
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        predictor = lora.fit(predictor, data, Run(tmp_path / name, engines))
    assert (tmp_path / "two" / "model" / "before" / "adapter_config.json").exists()
    alone = replace(predictor, model=replace(predictor.model, files=str(tmp_path / "one" / "model")))
    a, b = ([p.confidence for p in which.predict(ROWS, engines)] for which in (predictor, alone))
    assert a != b


def test_stopping_by_the_metric_names_it_in_the_fit(tmp_path: Path) -> None:
    """With patience the metric chooses the epoch, so another metric is another fit."""
    assert rewarded(Lora(), "accuracy", tmp_path) == []
    assert rewarded(Lora(patience=2), "accuracy", tmp_path) == ["accuracy"]
