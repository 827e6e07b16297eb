"""Encoders fine-tuned whole: the head learns, padding changes nothing, and what is saved opens anywhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rung import predictor as predictors
from rung.errors import ModelError
from rung.lm.base import Decoding, Prompt
from rung.lm.engines import Engines
from rung.lm.training import classifier
from rung.machine import Machine
from rung.methods import encoder_full
from rung.methods.base import Run
from rung.methods.encoder_full import EncoderFull
from rung.predictor import Predictor
from rung.types import Example, TrainData

LABELS = ("delay", "other", "refund")
ROWS = tuple(Example(f"{'abcdefgh'[i % 8]} my {LABELS[i % 3]} {'please ' * (i % 4)}", LABELS[i % 3]) for i in range(24))
DATA = TrainData(ROWS, LABELS)
QUICK = EncoderFull(epochs=12, batch=8, learning_rate=5e-3)


@pytest.fixture(scope="module")
def roberta(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny XLM-R: its positions count from the padding token, which is not 0."""
    from transformers import AutoTokenizer, XLMRobertaConfig, XLMRobertaForMaskedLM

    folder = tmp_path_factory.mktemp("xlmr")
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    tokenizer.pad_token = "[UNK]"
    torch.manual_seed(3)
    config = XLMRobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=40,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.2,
    )
    XLMRobertaForMaskedLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("given", "size", "rate"), ((None, 50_000_000, 5e-4), (None, 1, 5e-5), (1e-3, 1, 1e-3)))
def test_the_rate_goes_by_size_where_none_is_named(
    start: tuple[Predictor, Engines], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: float | None, size: int, rate: float
) -> None:
    from rung.lm.training import train

    seen: list[float] = []
    plain = train.run

    def run(loaded: Any, rows: Any, plan: train.TrainConfig, *rest: Any, **more: Any) -> Any:
        seen.append(plan.learning_rate)
        return plain(loaded, rows, plan, *rest, **more)

    monkeypatch.setattr(train, "run", run)
    monkeypatch.setattr(encoder_full, "SMALL", size)
    fit(start, tmp_path / "run", EncoderFull(epochs=1, learning_rate=given))
    assert seen == [rate]


@pytest.fixture
def start(base: Callable[[str], Path], encoder: Path, machine: Machine) -> tuple[Predictor, Engines]:
    engines = Engines(machine, say=lambda text: None)
    reference = engines.reference(str(base("llama")))
    return Predictor(kind="classify", model=reference, encoder=str(encoder), instruction="?", labels=LABELS), engines


def fit(start: tuple[Predictor, Engines], folder: Path, method: EncoderFull = QUICK) -> tuple[Predictor, Run]:
    folder.mkdir()
    run = Run(folder, start[1])
    return method.fit(start[0], DATA, run), run


def test_it_learns_and_answers(start: tuple[Predictor, Engines], roberta: Path, tmp_path: Path) -> None:
    found, run = fit(start, tmp_path / "run", replace(QUICK, model=str(roberta), epochs=20))
    assert run.notes["losses"][-1] < 0.3 * run.notes["losses"][0]
    assert run.notes["trained_share"] == 1.0
    assert run.notes["rows_cut"] == 0
    answers = found.predict(ROWS, start[1])
    assert sum(a.output == row.output for a, row in zip(answers, ROWS)) >= 22
    assert all(0 < a.confidence <= 1 for a in answers)


def test_it_opens_as_any_classifier(start: tuple[Predictor, Engines], tmp_path: Path) -> None:
    """transformers' own pipeline names the same labels with the same odds."""
    from transformers import pipeline

    found, _ = fit(start, tmp_path / "run")
    assert not list(Path(found.model.files).glob("*.bin"))
    theirs = pipeline("text-classification", model=found.model.files, device="cpu")
    ours = found.predict(ROWS[:6], start[1])
    for answer, row in zip(ours, ROWS):
        [wanted] = theirs(row.input.strip())  # type: ignore[misc]
        assert answer.output == wanted["label"]
        assert answer.confidence == pytest.approx(wanted["score"], rel=1e-4)


def test_saved_and_moved_it_answers_the_same(start: tuple[Predictor, Engines], tmp_path: Path, machine: Machine) -> None:
    found, _ = fit(start, tmp_path / "run")
    predictors.save(found, tmp_path / "saved")
    again = predictors.load(tmp_path / "saved")
    assert again.digest == found.digest
    assert [p.confidence for p in again.predict(ROWS, Engines(machine))] == [p.confidence for p in found.predict(ROWS, start[1])]


def test_a_batch_changes_no_answer(roberta: Path, encoder: Path, machine: Machine) -> None:
    for folder in (roberta, encoder):
        loaded = classifier.with_new_head(folder, LABELS, machine, 0)
        texts = [row.input for row in ROWS] + ["a", "b " * 200]
        together = classifier.logits(loaded, texts)
        alone = np.concatenate([classifier.logits(loaded, [text]) for text in texts])
        np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)
        assert classifier.count_truncated(loaded, texts) == 1


def test_the_loss_is_the_cross_entropy_of_the_labels(roberta: Path, machine: Machine) -> None:
    loaded = classifier.with_new_head(roberta, LABELS, machine, 0)
    wanted = [LABELS.index(row.output) for row in ROWS]
    rows = classifier.tokenize(loaded, [row.input for row in ROWS])
    items, loss = classifier.items(loaded.chat.tokenizer.pad_token_id)
    given = [classifier.Labelled(row, label) for row, label in zip(rows, wanted)]
    with torch.no_grad():
        found = float(loss(loaded.model, given, False)) / items.weight(given)
    logits = torch.tensor(classifier.logits(loaded, [row.input for row in ROWS]))
    assert found == pytest.approx(float(torch.nn.functional.cross_entropy(logits, torch.tensor(wanted))), rel=1e-5)


def test_parts_of_a_step_change_no_weight(start: tuple[Predictor, Engines], roberta: Path, tmp_path: Path) -> None:
    """Smaller parts, the same gradient. Dropout is off in none of them, so the base has none."""
    import json

    config = json.loads((roberta / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "classifier_dropout": 0.0}
    (roberta / "config.json").write_text(json.dumps(config))
    found = []
    for tokens in (10_000, 40):
        method = replace(QUICK, model=str(roberta), epochs=1, tokens=tokens, weight_decay=0.0)
        found.append(fit(start, tmp_path / str(tokens), method)[1].notes["losses"])
    assert found[0] == pytest.approx(found[1], rel=1e-3)


def test_the_best_epoch_on_held_back_rows_is_kept(start: tuple[Predictor, Engines], tmp_path: Path) -> None:
    _, run = fit(start, tmp_path / "run", replace(QUICK, patience=2, epochs=3))
    assert 2 <= len(run.notes["held"]) <= 3


def test_it_cannot_write(start: tuple[Predictor, Engines], tmp_path: Path) -> None:
    found, _ = fit(start, tmp_path / "run", replace(QUICK, epochs=1))
    with pytest.raises(ModelError, match="cannot generate text"):
        start[1].open(found.model).generate([Prompt((), "x")], Decoding())
