"""Encoders tuned on pairs of rows: the loss by hand, what batches hold, and a fit that separates what the base confuses."""

from __future__ import annotations

import json
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


def among_themselves(vectors: torch.Tensor, labels: list[int], temperature: float) -> torch.Tensor:
    given, places = torch.tensor(labels), torch.arange(len(labels))
    return contrastive.against(vectors, given, vectors, given, places, temperature)


def test_the_loss_by_hand() -> None:
    vectors = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    # the first two have one label: similarities 0.6 to each other, 0.0 and 0.8 to the third, which has no other of its own
    first = -math.log(math.exp(0.6 / 0.5) / (math.exp(0.6 / 0.5) + math.exp(0.0)))
    second = -math.log(math.exp(0.6 / 0.5) / (math.exp(0.6 / 0.5) + math.exp(0.8 / 0.5)))
    found = among_themselves(vectors, [0, 0, 1], 0.5)
    assert float(found) == pytest.approx((first + second) / 2, rel=1e-5)


def test_labels_of_one_row_each_teach_nothing() -> None:
    vectors = torch.eye(3, requires_grad=True)
    loss = among_themselves(vectors, [0, 1, 2], 0.1)
    loss.backward()
    assert loss.item() == 0.0


def test_a_batch_has_two_texts_of_every_label_in_it() -> None:
    labels = [k for k in range(20) for _ in range(5)]
    rows = [Row((i,), (False,)) for i in range(100)]
    found = contrastive.batches(rows, labels, steps=6, size=16, seed=0)
    assert len(found) == 6
    for batch in found:
        assert Counter(batch.labels) == dict.fromkeys(set(batch.labels), 2)
        assert len(set(batch.rows)) == 16
        assert all(labels[row.tokens[0]] == label for row, label in zip(batch.rows, batch.labels))


def test_few_labels_fill_the_batch_evenly() -> None:
    rows = [Row((i,), (False,)) for i in range(60)]
    [batch] = contrastive.batches(rows, [i % 2 for i in range(60)], steps=1, size=16, seed=0)
    assert Counter(batch.labels) == {0: 8, 1: 8}


def test_shuffled_batches_see_each_text_before_any_again() -> None:
    rows = [Row((i,), (False,)) for i in range(40)]
    found = contrastive.shuffled(rows, [i % 4 for i in range(40)], steps=6, size=10, seed=0)
    assert Counter(row for batch in found[:4] for row in batch.rows) == Counter(rows)
    assert all(row == rows[place] for batch in found for row, place in zip(batch.rows, batch.places))
    assert [len(batch.rows) for batch in contrastive.shuffled(rows[:3], [0, 1, 2], steps=1, size=10, seed=0)] == [3]


def test_a_memory_shows_texts_that_are_not_in_the_batch() -> None:
    pool = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    alone = torch.tensor([[1.0, 0.0]], requires_grad=True)
    found = contrastive.against(alone, torch.tensor([0]), pool, torch.tensor([0, 0, 1]), torch.tensor([0]), 0.5)
    found.backward()
    assert alone.grad is not None and alone.grad.abs().sum() > 0
    due = -math.log(math.exp(0.6 / 0.5) / (math.exp(0.6 / 0.5) + math.exp(0.0)))
    assert found.item() == pytest.approx(due, rel=1e-5)


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
    assert right(tuned, run.engines) > right(frozen, run.engines) + 0.05
    assert len(run.notes["held"]) >= 2


def test_what_is_saved_answers_the_same(fitted: tuple[Predictor, Predictor, Run], tmp_path: Path, machine: Machine) -> None:
    _, tuned, run = fitted
    predictors.save(tuned, tmp_path / "saved")
    again = predictors.load(tmp_path / "saved")
    fresh = Engines(machine, say=lambda text: None)
    before, after = tuned.predict(TEST, run.engines), again.predict(TEST, fresh)
    assert [one.output for one in before] == [one.output for one in after]
    assert [one.confidence for one in before] == pytest.approx([one.confidence for one in after], abs=1e-5)


def test_many_labels_are_tuned_against_a_memory(fitted: tuple[Predictor, Predictor, Run], tmp_path: Path) -> None:
    """A batch of 4 has no room for two texts of each of four labels."""
    start, _, run = fitted
    labels = ("late q", "late v", "refund q", "refund v")
    rows = tuple(Example(one.input, f"{one.output} {'qv'[i // 2 % 2]}") for i, one in enumerate(ROWS))
    many = Run(tmp_path, run.engines)
    few = replace(QUICK, steps=30, batch=6)
    asked = replace(start, labels=(*labels, "other"), descriptions=("",) * 5, other="other")
    found = few.fit(asked, TrainData(rows, labels), many)
    assert many.notes["steps"] > 0 and len(many.notes["held"]) >= 2
    assert "other" in many.notes and not (tmp_path / "work").exists(), "one more training, without some of the labels"
    assert {one.output for one in found.predict(TEST, run.engines)} <= {*labels, "other"}


def test_where_nothing_is_to_be_gained_the_encoder_stays_as_it_is(
    fitted: tuple[Predictor, Predictor, Run], tmp_path: Path
) -> None:
    start, _, run = fitted
    plain = tuple(Example(f"{'aaa' if i % 2 else 'zzz'} {i % 7}", LABELS[i % 2]) for i in range(64))
    for rows, reason in ((ROWS[:6], "too few rows"), (plain, "of train rows held back it has")):
        said: list[str] = []
        few = Run(tmp_path / reason[:3], run.engines, progress=lambda text, share, said=said: said.append(text))
        few.folder.mkdir()
        found = QUICK.fit(start, TrainData(rows, LABELS), few)
        assert few.notes["steps"] == 0 and few.notes["held"] == [] and "losses" not in few.notes
        assert any(reason in text for text in said)
        assert not (Path(found.model.files) / "encoder").exists(), "the untouched encoder answers"
        assert {one.output for one in found.predict(rows, run.engines)} == set(LABELS)


def test_a_fit_that_goes_on_does_not_choose_again(fitted: tuple[Predictor, Predictor, Run], tmp_path: Path) -> None:
    start, _, run = fitted
    again = Run(tmp_path, run.engines)
    (tmp_path / "work").mkdir()
    head = {"C": 3.0, "name_weight": 0.0, "balanced": False, "head_temperature": 2.5}
    (tmp_path / "work" / "choice.json").write_text(json.dumps({"steps": 2, "scores": [-0.9, -0.8], "head": head}))
    QUICK.fit(start, TrainData(ROWS, LABELS), again)
    assert again.notes["steps"] == len(again.notes["losses"]) == 2
    assert again.notes["held"] == [-0.9, -0.8]
    assert {key: again.notes[key] for key in head} == head


def test_its_head_is_chosen_and_calibrated_on_rows_that_it_was_not_tuned_on(fitted: tuple[Predictor, Predictor, Run]) -> None:
    _, tuned, run = fitted
    assert run.notes["head_temperature"] != 1.0
    confidences = np.array([one.confidence for one in tuned.predict(TEST, run.engines)])
    assert abs(confidences.mean() - right(tuned, run.engines)) < 0.15
