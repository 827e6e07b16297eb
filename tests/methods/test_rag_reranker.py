"""A tuned reranker: its loss and its scores, when it is used, what a killed fit finds done, and what it costs."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from parts import killed_at, prepared

from rung import predictor as predictors
from rung.errors import ModelError, TaskError
from rung.lm.base import ModelRef
from rung.lm.inference.fake import FakeEngine
from rung.lm.inference.rerank import Reranker
from rung.lm.training import classifier, questions, ranking
from rung.machine import Machine
from rung.methods import METHODS, rag_reranker, retrieval_gain, rung
from rung.methods.base import Run
from rung.methods.chain import folds
from rung.methods.estimate import estimate_base
from rung.methods.facts import Facts
from rung.methods.rag_tuned import RagTuned
from rung.naming import identity_fields
from rung.predictor import Predictor
from rung.retrieve.knowledge import documents
from rung.retrieve.lookup import Lookup, TunedReranker
from rung.retrieve.passage import Passage
from rung.retrieve.search import Hit
from rung.types import Example, TrainData

PARTS = ("frame", "wheel", "saddle", "bell", "chain", "pedal", "brake", "pump")
ROWS = tuple(
    Example(f"{PARTS[i % 8]} {'abcdefghijklmnopqrst'[i % 20]}", f"{i % 8 + 2} years", source=f"{PARTS[i % 8]}.md")
    for i in range(160)
)
QUICK = RagTuned(size=60, steps=1, learning_rate=1e-9, tune_reranker=True)
"""Its embedder learns nothing, so that there is something left for the reranker."""


@pytest.fixture
def made(tmp_path: Path, machine: Machine, encoder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Predictor, TrainData, Run]:
    """Each part has a second document, which the search finds first and which answers nothing."""
    monkeypatch.setattr(rag_reranker, "RATE_NEW", 3e-3)
    monkeypatch.setattr(rag_reranker, "RATE_NAMED", 3e-3)
    start, data, run = prepared(tmp_path, machine, encoder, FakeEngine(), PARTS, ROWS)
    for part in PARTS:
        (tmp_path / "docs" / f"{part}-old.md").write_text(f"# {part.title()}\n\nOld {part}: {part} was sold without any paper.\n")
    return start, replace(data, documents=documents(tmp_path, ("docs/",))), run


def first(found: Predictor, run: Run) -> list[str]:
    fresh = [Example(f"{part} u", "") for part in PARTS]
    return [Path(one.sources[0].path).name for one in found.retrieve(fresh, run.engines)]


def test_the_loss_and_the_scores_are_those_of_answering(encoder: Path, machine: Machine, tmp_path: Path) -> None:
    loaded = ranking.load(encoder, machine, 0, headed=False)
    texts = ["a frame", "a wheel and a long way round it " * 20, "bell"]
    [scores] = ranking.scorer(loaded, [("frame", texts)])()
    classifier.save(loaded, tmp_path / "kept")
    assert Reranker(tmp_path / "kept", machine)("frame", texts) == pytest.approx(scores.tolist(), abs=1e-4)
    items, loss = ranking.items(loaded)
    both = ranking.candidate_lists(loaded, [("frame", texts), ("bell", [texts[2], texts[0]])])
    [other] = ranking.scorer(loaded, [("bell", [texts[2], texts[0]])])()
    by_hand = sum(np.logaddexp.reduce(one) - one[0] for one in (scores, other))
    with torch.no_grad():
        assert float(loss(loaded.model, both, False)) == pytest.approx(by_hand, abs=1e-4)
    assert [len(items.rows(one)) for one in both] == [3, 2]
    assert [len(one) for one in ranking.scorer(loaded, [("q", []), ("frame", texts), ("r", [])])()] == [0, 3, 0], "no hits"
    assert [len(one) for one in ranking.scorer(loaded, [("q", [])])()] == [0]
    classifier.save(classifier.with_new_head(encoder, ["yes", "no"], machine, 0), tmp_path / "two")
    with pytest.raises(ModelError, match="one output, got 2"):
        ranking.load(tmp_path / "two", machine, 0, headed=True)


def test_the_weight_is_that_of_the_best_order() -> None:
    hits = [Hit(Passage(name, "d", (), name), score) for name, score in (("a", 1.0), ("b", 0.9), ("c", 0.0), ("d", 0.0))]
    wants_c = [np.array([-1.0, -9.0, 9.0], np.float32)]
    assert rag_reranker.best_weight([hits], wants_c, [frozenset("c")]) == 0.7
    assert rag_reranker.best_weight([hits], wants_c, [frozenset("d")]) == 0.1, "no weight lifts what is not read"


def test_a_reranker_that_gains_is_used_saved_and_loaded(made: tuple[Predictor, TrainData, Run], tmp_path: Path) -> None:
    start, data, run = made
    found = QUICK.fit(start, data, run)
    noted = run.notes["reranker"]
    assert noted["kept"] and noted["after"] > noted["before"] + 0.2 and noted["losses"] and noted["weight"] > 0, noted
    assert not run.notes["tuned"]["kept"] and not (run.folder / "work").exists()
    assert found.lookup.reranker == TunedReranker(
        str(run.folder / "reranker"), predictors.folder_digest(run.folder / "reranker"), noted["weight"], 8
    )
    without = replace(found, lookup=replace(found.lookup, reranker=None))
    right, before = (sum("-old" not in name for name in first(one, run)) for one in (found, without))
    assert right >= before + 4, (right, before)
    predictors.save(found, tmp_path / "kept")
    again = predictors.load(tmp_path / "kept")
    assert again.digest == found.digest and Path(again.lookup.reranker.files) == tmp_path / "kept" / "reranker"
    assert first(again, run) == first(found, run)


def test_without_a_gain_the_search_stays_as_it_was(
    made: tuple[Predictor, TrainData, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    start, data, run = made
    monkeypatch.setattr(rag_reranker, "RATE_NEW", 1e-9)
    found = QUICK.fit(start, data, run)
    assert run.notes["reranker"]["why"] == "no gain shown on the held-back rows" and not (run.folder / "reranker").exists()
    assert not [name for name in run.engines._kept if name.startswith("reranker")], "it is closed"
    assert found.digest == replace(QUICK, tune_reranker=False).fit(start, data, run).digest
    QUICK.fit(start, replace(data, examples=ROWS[:60]), run)
    assert run.notes["reranker"] == {"kept": False, "why": "60 rows with a known passage, of at least 100"}
    for groups in (1, 2):
        grouped = tuple(replace(row, group=f"g{i % groups}") for i, row in enumerate(ROWS))
        QUICK.fit(start, replace(data, examples=grouped), run)
        assert all(run.notes[part]["why"].startswith("too few groups") for part in ("tuned", "reranker")), groups


def test_a_fit_that_is_killed_with_the_reranker_finds_the_embedder_done(
    made: tuple[Predictor, TrainData, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    start, data, run = made
    whole = QUICK.fit(start, data, run).lookup
    checks: list[float] = []
    monkeypatch.setattr(rag_reranker, "_log_likelihood", killed_at(2, rag_reranker._log_likelihood, checks))
    with pytest.raises(KeyboardInterrupt):
        QUICK.fit(start, data, run)
    monkeypatch.setattr(questions, "batches", None)  # whoever trains the embedder again fails
    assert QUICK.fit(start, data, run).lookup == whole
    assert len(checks) == 4, "one check was done before, and two are left"


def test_it_starts_from_the_cross_encoder_of_the_task(
    made: tuple[Predictor, TrainData, Run], tmp_path: Path, machine: Machine, encoder: Path
) -> None:
    start, data, run = made
    named = ranking.load(encoder, machine, 1, headed=False)
    classifier.save(named, tmp_path / "named")
    found = replace(QUICK, rerank=str(tmp_path / "named")).fit(start, data, run)
    noted = run.notes["reranker"]
    assert noted["kept"] and noted["after"] > noted["before"] + 0.2, noted
    assert found.lookup.settings.rerank == "" and found.lookup.reranker
    digests = {run.engines.find(found.lookup.reranker.files).digest}
    assert {name for name in run.engines._kept if name.startswith("reranker")} == {f"reranker {one}" for one in digests}


def test_what_it_costs_is_counted(machine: Machine) -> None:
    sizes = {"parameters": 134_000_000, "encoder_parameters": 22_000_000}
    facts = Facts(train_rows=500, shared_tokens=60, input_tokens=20, output_tokens=3, labels=0, **sizes)
    plain = METHODS["rag-tuned"]
    before, after = (
        one.estimate(estimate_base(facts, machine), facts, machine) for one in (plain, replace(plain, tune_reranker=True))
    )
    passes = machine.prefill_seconds(22_000_000, 8 * 220)
    assert after.row_seconds == pytest.approx(before.row_seconds + passes)
    assert after.fit_seconds > before.fit_seconds + 150 * passes and after.memory_bytes > before.memory_bytes
    whole = {"rerank": "some/cross-encoder", "tune_reranker": True}
    larger = replace(facts, sizes={"some/cross-encoder": (560_000_000, 260_000_000)}.__getitem__)
    named, untuned = (
        one.estimate(estimate_base(larger, machine), larger, machine)
        for one in (replace(plain, **whole), replace(plain, rerank="some/cross-encoder"))
    )
    assert untuned.row_seconds > before.row_seconds + machine.prefill_seconds(300_000_000, 50 * 200)
    assert untuned.memory_bytes >= 4 * 560_000_000
    assert named.row_seconds == untuned.row_seconds and named.memory_bytes > 16 * 560_000_000
    assert named.fit_seconds > untuned.fit_seconds + 3 * (after.fit_seconds - before.fit_seconds)
    few = replace(facts, train_rows=50)
    assert replace(plain, tune_reranker=True).estimate(estimate_base(few, machine), few, machine) == plain.estimate(
        estimate_base(few, machine), few, machine
    )


def test_an_estimate_imports_no_torch(machine: Machine) -> None:
    code = f"""
import sys
from dataclasses import replace
from rung.machine import Machine
from rung.methods import METHODS
from rung.methods.estimate import estimate_base
from rung.methods.facts import Facts
sizes = dict(parameters=10**8, encoder_parameters=2 * 10**7, shared_tokens=60, input_tokens=20, output_tokens=3, labels=0)
facts, machine = Facts(train_rows=500, **sizes), Machine(**{asdict(machine)})
method = replace(METHODS["rag-tuned"], tune_reranker=True)
assert method.estimate(estimate_base(facts, machine), facts, machine).fit_seconds > 0
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_rows_that_depend_on_each_other_are_resampled_together() -> None:
    rows = [("a", "g", "p"), ("b", "g", "q"), ("c", "", "q"), ("d", "", "r"), ("D ", "", "s"), ("e", "h", "t")]
    numbers = retrieval_gain.clusters([(Example(text, "x", group=group), frozenset(gold)) for text, group, gold in rows])
    assert numbers[0] == numbers[1] == numbers[2] and numbers[3] == numbers[4], "one group, a passage in common; one question"
    assert len(set(numbers)) == 3


def test_confidences_in_new_rows_come_from_fits_on_others() -> None:
    rag, plain, both = METHODS["rag"], METHODS["rag-tuned"], replace(METHODS["rag-tuned"], tune_reranker=True, passages=2)
    assert folds([rag]) == 0 and folds([plain]) == folds([both]) == 2
    kept, lost = {"kept": True}, {"kept": False}
    assert plain.again({"tuned": kept}) is plain and both.again({"tuned": lost, "reranker": kept}) is both
    assert plain.again({"tuned": lost}) == rag, "nothing that was learnt is used"
    assert both.again({"tuned": lost, "reranker": lost}) == replace(rag, passages=2)
    assert plain.again({}) is plain


def test_the_option_is_on_or_off_and_a_lookup_without_it_keeps_its_name() -> None:
    with pytest.raises(TaskError, match="tune_reranker must be true or false"):
        rung("rag-tuned", {"rag-tuned": {"tune_reranker": "yes"}})
    plain = Predictor(kind="answer", model=ModelRef("fake", "fake", "fake"), instruction="", lookup=Lookup("index", "d", "e"))
    tuned = [
        replace(plain.lookup, reranker=TunedReranker("here", name, weight, 8))
        for name, weight in (("a", 0.2), ("a", 0.3), ("b", 0.2))
    ]
    assert "reranker" not in identity_fields(asdict(plain) | {"prompt": 1})["lookup"]
    assert len({plain.digest, *(replace(plain, lookup=one).digest for one in tuned)}) == 4
    moved = replace(tuned[0], reranker=replace(tuned[0].reranker, files="there"))
    assert replace(plain, lookup=moved).digest == replace(plain, lookup=tuned[0]).digest
