"""Distillation: what the teacher is sure of is learnt by what comes next, and nothing that is held back is ever asked."""

from __future__ import annotations

import json
from dataclasses import replace
from math import nan
from pathlib import Path

import pytest

from rung import methods
from rung import predictor as predictors
from rung.climbing.fit import fit, fit_context
from rung.climbing.project import Project
from rung.data import unlabelled
from rung.errors import BudgetError, DataError
from rung.lm.base import Choice, ModelRef
from rung.lm.engines import Engines
from rung.lm.inference.fake import FakeEngine
from rung.machine import Machine
from rung.methods.base import Run
from rung.methods.distil import Distil
from rung.predictor import CHUNK, Predictor
from rung.task import load_task
from rung.types import Example, TrainData

FAKE = ModelRef("fake", "fake", "fake")


class Unsure(FakeEngine):
    """Sure of the first label alone."""

    def choose(self, prompts, labels, progress=None):
        found = super().choose(prompts, labels, progress)
        return [Choice(c.label, c.logprob, 0.95 if c.label == labels[0] else 0.5) for c in found]


@pytest.fixture
def run(tmp_path: Path, machine: Machine) -> Run:
    engines = Engines(machine, say=lambda text: None)
    engines.put(FAKE, Unsure())
    return Run(tmp_path, engines)


def test_rows_that_the_teacher_is_unsure_of_are_dropped(run: Run) -> None:
    start = Predictor(kind="classify", model=FAKE, instruction="?", labels=("delay", "refund"))
    data = TrainData((), ("delay", "refund"), unlabelled=("a delay again", "my refund", "long delay"))
    fitted = Distil().fit(start, data, run)
    assert [(row.input, row.output) for row in fitted.taught] == [("a delay again", "delay"), ("long delay", "delay")]
    assert (run.notes["asked"], run.notes["kept"], run.notes["failed"]) == (3, 2, 0)
    assert fitted.digest == start.digest, "it answers as before"
    assert len(Distil(least=0.0, most=2).fit(start, data, run).taught) == 2


class Talking(FakeEngine):
    """An endpoint's engine: where no label was named, what was said is kept as it is, without a confidence."""

    def choose(self, prompts, labels, progress=None):
        named = [next((label for label in labels if label in prompt.input), "") for prompt in prompts]
        return [Choice(label, -0.1, 0.9) if label else Choice("I cannot say", nan, None) for label in named]


def test_what_is_no_label_is_dropped_and_counted(run: Run) -> None:
    run.engines.put(FAKE, Talking())
    start = Predictor(kind="classify", model=FAKE, instruction="?", labels=("delay", "refund"))
    data = TrainData((), ("delay", "refund"), unlabelled=("a delay again", "good day", "my refund"))
    fitted = Distil().fit(start, data, run)
    assert [row.output for row in fitted.taught] == ["delay", "refund"]
    assert (run.notes["asked"], run.notes["kept"], run.notes["failed"], run.notes["no_label"]) == (3, 2, 0, 1)
    free = replace(start, kind="answer", labels=())
    Distil().fit(free, data, run)
    assert run.notes["no_label"] == 0, "a free answer need not be a label"


def test_labelling_stops_at_the_deadline(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    start = Predictor(kind="classify", model=FAKE, instruction="?", labels=("delay", "refund"))
    data = TrainData((), ("delay", "refund"), unlabelled=tuple(f"delay {i}" for i in range(3 * CHUNK)))
    clock = iter(range(100))
    monkeypatch.setattr("rung.methods.distil.time.monotonic", lambda: float(next(clock)))
    with pytest.raises(BudgetError, match=f"stopped at row {2 * CHUNK} of {3 * CHUNK}.*Raise budget.minutes"):
        Distil().fit(start, data, replace(run, deadline=1.5))


def test_taught_rows_are_kept_with_the_predictor(run: Run, tmp_path: Path) -> None:
    taught = (Example("a", "delay", where="labelled by fake"),)
    predictor = Predictor(kind="classify", model=FAKE, instruction="?", labels=("delay", "refund"), taught=taught)
    predictors.save(predictor, tmp_path / "kept")
    assert predictors.load(tmp_path / "kept").taught == taught


def test_inputs_that_have_an_answer_are_not_given_to_a_teacher(tmp_path: Path) -> None:
    (tmp_path / "new.txt").write_text("one\n\nTwo \none\nthree\n")
    (tmp_path / "new.jsonl").write_text(json.dumps({"text": "four"}) + "\n")
    assert unlabelled.load(tmp_path, ["new.txt", "new.jsonl"], "text", ["THREE"]) == ("one", "Two", "four")
    with pytest.raises(DataError, match="no column 'question'"):
        unlabelled.load(tmp_path, ["new.jsonl"], "question")


def test_what_comes_next_learns_from_the_taught_rows(tmp_path: Path, home: Path, machine: Machine) -> None:
    rows = [f"{i} parcel {word},{word}" for i in range(60) for word in ("delay", "refund")]
    (tmp_path / "rows.csv").write_text("\n".join(["input,output", *rows]))
    (tmp_path / "new.txt").write_text("another long delay\nyet another delay\n3 parcel delay\n")
    (tmp_path / "rung.yaml").write_text(
        "task: Sort.\nkind: classify\nbase: fake\ngoal: {at_least: 0.5}\n"
        "data: {examples: rows.csv, unlabelled: new.txt}\nmethods: {distil: {least: 0.0}}\n"
    )
    project = Project(load_task(tmp_path), Engines(machine, say=lambda text: None))
    fitted, _ = fit(fit_context(project), methods.rung("distil+nearest", project.task.methods), float("inf"), lambda *_: None)
    assert [row.input for row in fitted.taught] == ["another long delay", "yet another delay"]
    [found] = fitted.predict([Example("another long delay", "")], project.engines)
    assert (found.output, found.confidence) == ("delay", 1.0)
