"""RAG with a tuned query encoder: the loss by hand, what is mined, and when the tuned embedder is used."""

from __future__ import annotations

import math
import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from parts import killed_at, prepared

from rung import predictor as predictors
from rung.lm.base import ModelRef
from rung.lm.inference.fake import FakeEngine
from rung.lm.training import questions
from rung.lm.training.questions import Pairing
from rung.lm.trees.tree import Row
from rung.machine import Machine
from rung.methods.base import Run
from rung.methods.rag_tuned import RagTuned
from rung.predictor import Predictor
from rung.retrieve import negatives
from rung.retrieve.lookup import Lookup
from rung.retrieve.passage import Passage
from rung.retrieve.sqlite import Sqlite
from rung.retrieve.store import Change, IndexConfig, text_digest
from rung.types import Example, TrainData

PARTS = ("frame", "wheel", "saddle", "bell", "chain", "pedal", "brake", "pump")
CODES = "qvxzjkwy"
"""How the questions call the parts: in a letter that no document contains."""


def row(i: int) -> Example:
    filler = " ".join(random.Random(i).choices("abcdefghilmnoprstu", k=6))
    return Example(f"{CODES[i % 8]} {filler}", f"{i % 8 + 2} years", source=f"{PARTS[i % 8]}.md")


ROWS = tuple(map(row, range(160)))
QUICK = RagTuned(size=60, steps=40, batch=24, learning_rate=1e-2)


@pytest.fixture
def made(tmp_path: Path, machine: Machine, encoder: Path) -> tuple[Predictor, TrainData, Run]:
    return prepared(tmp_path, machine, encoder, FakeEngine(), PARTS, ROWS)


def test_the_loss_by_hand() -> None:
    passages = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]], np.float32)
    asked = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    row = Row((1,), (False,))
    pairings = [Pairing(row, (0,), (1,)), Pairing(row, (2,), (), frozenset({1}))]
    first = -math.log(math.exp(1 / 0.5) / (math.exp(1 / 0.5) + math.exp(0.6 / 0.5) + math.exp(0)))
    second = -math.log(math.exp(1 / 0.5) / (math.exp(1 / 0.5) + math.exp(0)))  # passage 1 is doubtful for it
    found = questions.against_passages(asked, pairings, passages, 0.5)
    assert float(found) == pytest.approx((first + second) / 2, rel=1e-5)
    both = questions.against_passages(asked[:1], [Pairing(row, (0, 1), (2,))], passages, 0.5)
    assert float(both) == pytest.approx(-math.log(1 - math.exp(0) / (math.exp(2) + math.exp(1.2) + 1)), rel=1e-5)


def test_batches_hold_a_question_once() -> None:
    pairings = [Pairing(Row((i,), (False,)), (i,)) for i in range(10)]
    found = questions.batches(pairings, steps=5, size=4, seed=0)
    assert [len(set(one.pairings)) for one in found] == [4] * 5
    assert len({pairing for one in found[:2] for pairing in one.pairings}) == 8
    assert [len(one.pairings) for one in questions.batches(pairings, steps=2, size=64, seed=0)] == [10, 10]


def test_what_may_answer_too_is_neither_right_nor_wrong(tmp_path: Path) -> None:
    texts = (
        "alpha ships in 3 days",
        "alpha ships in 3 days!",
        "alpha arrives in three days",
        "alpha ships abroad",
        "alpha secret",
    )
    access = ("", "", "", "", "staff")
    passages = tuple(Passage(f"p{i}", f"{i}.md", (), text, access=access[i]) for i, text in enumerate(texts))
    vectors = np.eye(5, dtype=np.float32)
    store = Sqlite(tmp_path / "index")
    store.keep_vectors("d", [text_digest(one) for one in passages], vectors)
    store.apply([Change(one.path, "x", (one,)) for one in passages], IndexConfig("toy", "d"))
    known = negatives.corpus(store)
    assert [one.id for one in known.passages] == ["p0", "p1", "p2", "p3"], "passages with a label are not learnt from"
    [found] = negatives.mine(store, known, ["alpha ships"], vectors[:1], [[0]], [lambda passage: "three days" in passage.text])
    assert found.hard == (3,)
    assert found.doubtful == {1, 2}, "1 is nearly the right one, 2 holds the answer"


def test_questions_in_other_words_are_found_once_tuned(made: tuple[Predictor, TrainData, Run], tmp_path: Path) -> None:
    start, data, run = made
    fitted = QUICK.fit(start, data, run)
    told = run.notes["tuned"]
    assert told["kept"] and told["after"] > told["before"] + 0.2, told
    assert fitted.lookup and fitted.lookup.files_digest and "dense" in fitted.lookup.settings.legs
    assert not (run.folder / "work").exists()
    fresh = [row(i) for i in range(1000, 1040)]
    shown = [{Path(source.path).name for source in one.sources} for one in fitted.retrieve(fresh, run.engines)]
    assert sum(one.source in names for one, names in zip(fresh, shown)) >= 32
    predictors.save(fitted, tmp_path / "kept")
    again = predictors.load(tmp_path / "kept")
    assert again.digest == fitted.digest and Path(again.lookup.files).is_relative_to(tmp_path / "kept")
    assert [s.sources for s in again.retrieve(fresh, run.engines)] == [s.sources for s in fitted.retrieve(fresh, run.engines)]


def test_a_killed_fit_resumes_and_comes_to_the_same(
    made: tuple[Predictor, TrainData, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    start, data, run = made
    whole = QUICK.fit(start, data, run).lookup
    shutil.rmtree(run.folder / "questions")
    asked: list[float] = []
    monkeypatch.setattr(questions, "log_likelihood", killed_at(4, questions.log_likelihood, asked))
    with pytest.raises(KeyboardInterrupt):
        QUICK.fit(start, data, run)
    assert list((run.folder / "work").rglob("checkpoint-*"))
    again = QUICK.fit(start, data, run).lookup
    assert len(asked) == 7, "three checks were done before, and three are left"
    assert again.files_digest == whole.files_digest


def test_without_a_gain_it_is_rag(made: tuple[Predictor, TrainData, Run]) -> None:
    start, data, run = made
    told = {}
    for name, method in {"tuned": replace(QUICK, steps=1, learning_rate=1e-9), "few rows": QUICK}.items():
        given = replace(data, examples=ROWS[:60]) if name == "few rows" else data
        found = method.fit(start, given, run)
        told[name] = run.notes.pop("tuned")
        assert found.lookup.files == "" and not (run.folder / "questions").exists()
    assert told["tuned"]["why"] == "no gain shown on the held-back rows"
    assert told["few rows"] == {"kept": False, "why": "60 rows with a known passage, of at least 100"}


def test_another_tuned_embedder_is_another_predictor() -> None:
    start = Predictor(kind="answer", model=ModelRef("fake", "fake", "fake"), instruction="Answer.")
    plain, one, other = (replace(start, lookup=Lookup("index", "d", "e", files_digest=name)) for name in ("", "a", "b"))
    assert len({plain.digest, one.digest, other.digest}) == 3
    assert one.digest == replace(one, lookup=replace(one.lookup, files="elsewhere")).digest
