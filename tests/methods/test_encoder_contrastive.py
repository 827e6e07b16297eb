"""Encoders tuned on pairs of rows: the loss by hand, what batches hold, and a fit that separates what the base confuses."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rung import predictor as predictors
from rung.lm.engines import Engines
from rung.lm.training import contrastive
from rung.lm.trees.tree import Row
from rung.machine import Machine
from rung.methods.base import Run
from rung.methods.encoder import Encoder
from rung.methods.encoder_contrastive import EncoderContrastive
from rung.predictor import Predictor
from rung.types import Example, TrainData

LABELS = ("late", "refund")


def row(i: int) -> Example:
    """One letter among many decides."""
    filler = random.Random(i)
    return Example(" ".join([*filler.choices("abcdefghijklm", k=14), "qv"[i % 2]]), LABELS[i % 2])


ROWS, TEST = tuple(map(row, range(64))), tuple(map(row, range(64, 104)))
QUICK = EncoderContrastive(steps=60, batch=24, learning_rate=5e-3, strengths=(10.0,), name_weights=(0.0,))


def test_the_loss_by_hand() -> None:
    vectors = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    # the first two have one label: similarities 0.6 to each other, 0.0 and 0.8 to the third, which has no other of its own
    first = -math.log(math.exp(0.6 / 0.5) / (math.exp(0.6 / 0.5) + math.exp(0.0)))
    second = -math.log(math.exp(0.6 / 0.5) / (math.exp(0.6 / 0.5) + math.exp(0.8 / 0.5)))
    found = contrastive.supervised_contrastive(vectors, torch.tensor([0, 0, 1]), 0.5)
    assert float(found) == pytest.approx((first + second) / 2, rel=1e-5)


def test_labels_of_one_row_each_teach_nothing() -> None:
    vectors = torch.eye(3, requires_grad=True)
    loss = contrastive.supervised_contrastive(vectors, torch.tensor([0, 1, 2]), 0.1)
    loss.backward()
    assert loss.item() == 0.0


def test_a_batch_has_two_texts_of_every_label_in_it() -> None:
    labels = [k for k in range(20) for _ in range(5)]
    rows = [Row((i,), (False,)) for i in range(100)]
    found = contrastive.batches(rows, labels, np.eye(20, dtype=np.float32), steps=6, size=16, seed=0)
    assert len(found) == 6
    for batch in found:
        assert Counter(batch.labels) == dict.fromkeys(set(batch.labels), 2)
        assert len(set(batch.rows)) == 16
        assert all(labels[row.tokens[0]] == label for row, label in zip(batch.rows, batch.labels))


def test_every_other_batch_is_of_labels_that_lie_near_each_other() -> None:
    angles = np.linspace(0, np.pi, 20)
    means = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    labels = [k for k in range(20) for _ in range(2)]
    rows = [Row((i,), (False,)) for i in range(40)]
    found = contrastive.batches(rows, labels, means, steps=4, size=10, seed=0)
    spans = [max(batch.labels) - min(batch.labels) for batch in found]
    assert all(span == 4 for span in spans[1::2])
    assert min(spans[0::2]) > 4


def test_few_labels_fill_the_batch_evenly() -> None:
    rows = [Row((i,), (False,)) for i in range(60)]
    [batch] = contrastive.batches(rows, [i % 2 for i in range(60)], np.eye(2, dtype=np.float32), steps=1, size=16, seed=0)
    assert Counter(batch.labels) == {0: 8, 1: 8}


@pytest.fixture(scope="module")
def fitted(
    base: Callable[[str], Path], encoder: Path, machine: Machine, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Predictor, Predictor, Run]:
    """The start, what is fitted from it, and its run."""
    engines = Engines(machine, say=lambda text: None)
    start = Predictor(
        kind="classify",
        model=engines.reference(str(base("llama"))),
        encoder=str(encoder),
        instruction="late or refund?",
        labels=LABELS,
        descriptions=("", ""),
    )
    run = Run(tmp_path_factory.mktemp("contrastive"), engines)
    return start, QUICK.fit(start, TrainData(ROWS, LABELS), run), run


def right(predictor: Predictor, engines: Engines) -> float:
    return float(np.mean([one.output == row.output for one, row in zip(predictor.predict(TEST, engines), TEST)]))


def test_it_separates_what_the_frozen_encoder_confuses(fitted: tuple[Predictor, Predictor, Run], tmp_path: Path) -> None:
    start, tuned, run = fitted
    plain = Run(tmp_path, run.engines)
    frozen = replace(Encoder(), strengths=(10.0,), name_weights=(0.0,)).fit(start, TrainData(ROWS, LABELS), plain)
    assert run.notes["steps"] > 0
    assert right(tuned, run.engines) > right(frozen, run.engines) + 0.1
    assert len(run.notes["held"]) >= 2


def test_what_is_saved_answers_the_same(fitted: tuple[Predictor, Predictor, Run], tmp_path: Path, machine: Machine) -> None:
    _, tuned, run = fitted
    predictors.save(tuned, tmp_path / "saved")
    again = predictors.load(tmp_path / "saved")
    fresh = Engines(machine, say=lambda text: None)
    before, after = tuned.predict(TEST, run.engines), again.predict(TEST, fresh)
    assert [one.output for one in before] == [one.output for one in after]
    assert [one.confidence for one in before] == pytest.approx([one.confidence for one in after], abs=1e-5)


def test_a_fit_that_goes_on_does_not_choose_again(
    fitted: tuple[Predictor, Predictor, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, _, run = fitted
    again = Run(tmp_path, run.engines)
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "steps.json").write_text("[0, [0.9]]")
    QUICK.fit(start, TrainData(ROWS, LABELS), again)
    assert again.notes["steps"] == 0
    assert again.notes["held"] == [0.9]


def test_too_few_rows_take_all_steps_and_say_so(fitted: tuple[Predictor, Predictor, Run], tmp_path: Path) -> None:
    start, _, run = fitted
    said: list[str] = []
    few = Run(tmp_path, run.engines, progress=lambda text, share: said.append(text))
    replace(QUICK, steps=2).fit(start, TrainData(ROWS[:6], LABELS), few)
    assert few.notes["steps"] == 2
    assert few.notes["held"] == []
    assert any("too few rows" in text for text in said)
