"""Cascades: named, fitted from stored answers, decided, saved, asked and served; the usual one, and when it is not tried."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from commands import command

from rung import api, methods
from rung import predictor as predictors
from rung.climbing import cascading
from rung.climbing.climb import chosen
from rung.climbing.ledger import spending
from rung.climbing.measuring import measured
from rung.climbing.project import Project
from rung.errors import RungError, TaskError
from rung.evaluate.predict import answer
from rung.export.source import source
from rung.lm.base import Choice, ModelRef, Progress, Prompt
from rung.lm.engines import Engines
from rung.lm.inference.fake import FakeEngine
from rung.methods.base import Family, Method, Run
from rung.methods.estimate import CostEstimate
from rung.methods.facts import Facts
from rung.planning import cascades
from rung.predictor import Cascade, Predictor, Threshold
from rung.task import cascade_names, load_task
from rung.types import Cost, Example, Prediction, Record, TrainData

LABELS = ("delay", "other", "refund")
DEAR = ModelRef("fake", "dear", "dear")


class Knowing(FakeEngine):
    """Right on all rows: the number at a row's end says its label, modulo 3."""

    def choose(self, prompts: Sequence[Prompt], labels: Sequence[str], progress: Progress | None = None) -> list[Choice]:
        self.asked += len(prompts)
        return [Choice(LABELS[int(prompt.input.split()[-1]) % 3], -0.1, 0.99, 10, 1) for prompt in prompts]


@dataclass(frozen=True, kw_only=True)
class Dear(Method):
    """Answers with another, dearer model."""

    name: ClassVar[str] = "dear"
    family: ClassVar[Family | None] = Family.PROMPTING
    folds: ClassVar[int] = 0

    def estimate(self, start: CostEstimate, facts: Facts, machine: Any) -> CostEstimate:
        return replace(start, row_seconds=start.row_seconds * 1000 + 1)

    def fit(self, start: Predictor, data: TrainData, run: Run) -> Predictor:
        return replace(start, model=DEAR, instruction="dear")


def rows(n: int, seed: int) -> list[tuple[str, str]]:
    """Half of the rows hold the words of their label; those of the others mislead. Only the dear model reads the number."""
    rng, out = random.Random(seed), []
    words = {"refund": "money back account", "delay": "late parcel waiting", "other": "hours shop open"}
    for i in range(n):
        label = rng.choice(LABELS)
        told = words[label] if i % 2 else f"hm {rng.choice(LABELS)[:2]} {rng.random()}"
        out.append((f"{told} {3 * rng.randrange(10**9) + LABELS.index(label)}", label))
    return out


def task(folder: Path, rungs: str = '["nearest>dear"]', goal: str = "{at_least: 0.8}") -> Path:
    folder.mkdir(exist_ok=True)
    for split, (n, seed) in {"train": (120, 1), "dev": (100, 2), "test": (100, 3)}.items():
        with (folder / f"{split}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("input", "output"), *rows(n, seed)])
    lines = ["task: sort", "kind: classify", "data: {train: train.csv, dev: dev.csv, test: test.csv}", "base: fake"]
    (folder / "rung.yaml").write_text("\n".join([*lines, *([f"rungs: {rungs}"] if rungs else []), f"goal: {goal}", ""]))
    return folder


@pytest.fixture
def dear(monkeypatch: pytest.MonkeyPatch) -> Knowing:
    """The method `dear`, and its engine, which counts the rows it was asked."""
    engine = Knowing()
    monkeypatch.setitem(methods.METHODS, "dear", Dear())
    opened = Engines.open
    monkeypatch.setattr(Engines, "open", lambda self, ref: engine if ref == DEAR else opened(self, ref))
    return engine


def shown(folder: Path) -> dict[str, Any]:
    return {one["name"]: one for one in json.loads(command("show", folder, "--json").stdout)["rungs"]}


def test_a_cascade_is_measured_like_any_rung_and_asks_nothing_twice(tmp_path: Path, dear: Knowing) -> None:
    folder = task(tmp_path)
    api.climb(folder, everything=True, progress=False)
    found = shown(folder)
    assert set(found) == {"nearest", "dear", "nearest>dear"}, "its parts are rungs of their own"
    both, alone, cheap = found["nearest>dear"], found["dear"], found["nearest"]
    assert both["status"] == "done" and both["score"]["n"] == 100
    assert both["score"]["value"] > cheap["score"]["value"] + 0.1
    assert both["score"]["value"] >= alone["score"]["value"] - 0.05
    assert both["score"]["low"] < both["score"]["value"], "with its interval"
    latency = 3 * 22  # requests for the latency of a rung, with two to warm up
    assert dear.asked <= 120 + 100 + 100 + latency, "train rows once, dev once, sealed rows once"
    project = Project(load_task(folder))
    record = next(one for one in project.store.records() if one.rung == "nearest>dear")
    note = record.provenance.notes[-1] if record.provenance.notes else {}
    assert 0.2 < note["answers"] < 0.9 and note["auc"] > 0.8
    assert note["score"] >= note["score_of_each"][1] and note["rows"] == 120


def test_cost_and_answers_are_those_of_the_blend(tmp_path: Path, dear: Knowing) -> None:
    folder = task(tmp_path)
    api.climb(folder, everything=True, progress=False)
    project = Project(load_task(folder))
    predictor = chosen(project, "nearest>dear")
    assert predictor.then and predictor.cascade
    dev = project.inputs.splits.dev
    found = answer(predictor, dev, project.store, project.engines, lambda *_: None, float("inf"))
    asked = cascading.asked(project, predictor, found)
    assert [model.kind for model, _ in asked] == ["rule", "fake"]
    passed = {one.id for one in asked[1][1]}
    assert len(asked[0][1]) == 100 and 10 < len(passed) < 90
    assert all((one.tokens_in == 10) == (one.id in passed) for one in found)
    first = {one.id: one for one in asked[0][1]}
    assert all(one.output == first[one.id].output for one in found if one.id not in passed)
    assert all(one.seconds >= first[one.id].seconds for one in found)


def test_a_saved_cascade_answers_alike_wherever_it_is(tmp_path: Path, dear: Knowing) -> None:
    folder = task(tmp_path / "task")
    api.climb(folder, everything=True, progress=False)
    project = Project(load_task(folder))
    predictor = chosen(project, "nearest>dear")
    predictors.save(predictor, tmp_path / "saved")
    (tmp_path / "saved").rename(tmp_path / "moved")
    loaded = predictors.load(tmp_path / "moved")
    assert loaded.digest == predictor.digest and loaded.then and loaded.then.model == DEAR
    assert loaded.cascade and predictor.cascade and loaded.cascade.cut == predictor.cascade.cut
    texts = [Example("late parcel waiting 300", ""), Example("hm 0.77 302", "")]
    answers = [one.output for one in loaded.predict(texts, project.engines)]
    assert answers == [one.output for one in predictor.predict(texts, project.engines)] == ["delay", "refund"]
    assert replace(predictor, cascade=None).digest != predictor.digest
    other = replace(predictor, cascade=replace(predictor.cascade, cut=Threshold(0.123)))
    assert other.digest != predictor.digest


def test_asking_and_fitting_take_the_name_of_a_cascade(tmp_path: Path, dear: Knowing) -> None:
    folder = task(tmp_path, rungs="[nearest, dear]")
    fitted = api.fit(folder, "nearest>dear", progress=False)
    assert [one.rung for one in fitted.records] == ["nearest>dear"] and fitted.records[0].scores
    task(tmp_path)
    api.climb(folder, everything=True, progress=False)
    assert command("ask", folder, "hm 0.77 302", "--rung", "nearest>dear").stdout.startswith("refund")
    assert api.load(folder).frozen.model.kind in ("rule", "fake")


def test_a_cascade_is_not_exported_by_half(tmp_path: Path, dear: Knowing) -> None:
    folder = task(tmp_path)
    api.climb(folder, everything=True, progress=False)
    with pytest.raises(RungError, match="is a cascade of two rungs"):
        source(Project(load_task(folder)), "nearest>dear")


def test_a_row_that_neither_is_sure_of_goes_to_a_person(tmp_path: Path, dear: Knowing) -> None:
    folder = task(tmp_path, goal="{at_least: 0.8, coverage: 0.5}")
    api.climb(folder, everything=True, progress=False)
    both = shown(folder)["nearest>dear"]
    assert both["selection"]["rows"] == 120 and both["selection"]["score"] > 0.8
    assert both["coverage"]["value"] >= 0.5


def test_a_part_that_fails_is_answered_by_the_other() -> None:
    cut = Threshold(0.5)
    assert not predictors.sure.is_sure(Prediction("a", "x", 0.9, error="no server"), cut)
    assert not predictors.sure.is_sure(Prediction("a", "x", 0.4), cut)
    joined = predictors.sure.joined(Prediction("a", "x", 0.4, 5, 1, 0.5), Prediction("a", "y", 0.8, 7, 2, 1.0), cut)
    assert (joined.output, joined.tokens_in, joined.tokens_out, joined.seconds) == ("y", 12, 3, 1.5)


@pytest.mark.parametrize("name", ["nearest>", ">dear", "nearest>dear>dear"])
def test_a_cascade_of_other_than_two_rungs_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(TaskError, match="a cascade joins two rungs"):
        _ = Project(load_task(task(tmp_path, rungs=f'["{name}"]'))).plan
    assert cascade_names.parts("lora") is None


def test_the_usual_cascade_is_planned_by_price_and_bet_alone(
    tmp_path: Path, dear: Knowing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(methods, "RUNGS", ("majority", "nearest", "zero-shot", "dear"))
    project = Project(load_task(task(tmp_path, rungs="")))
    usual = [step for step in project.plan.steps if step.usual]
    assert [step.rung for step in usual] == ["nearest>dear"]
    assert (
        usual[0].estimate
        and usual[0].estimate.per_1k_usd < next(s for s in project.plan.steps if s.rung == "dear").estimate.per_1k_usd
    )
    assert project.plan.rungs == 4, "it takes no share from the others"
    cheap = [step for step in project.plan.steps if step.rung in ("majority", "nearest")]
    assert cascades.usual(cheap, project.inputs.data) is None


def cost(rung: str, usd: float) -> Record:
    return Record(rung, "done", cost=Cost(per_1k_usd=usd))


def test_the_usual_cascade_needs_a_price_apart_and_a_confidence_that_tells(
    tmp_path: Path, dear: Knowing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(methods, "RUNGS", ("nearest", "dear"))
    project = Project(load_task(task(tmp_path, rungs="")))
    [step] = [one for one in project.plan.steps if one.usual]

    def why(*records: Record) -> str:
        return cascading.too_cheap(step, records) or cascading.doubtful(project, step, float("inf"), lambda *_: None)

    assert "were not both measured" in why(cost("nearest", 0.001))
    assert "costs 9.0 times one of nearest, less than 10 times" in why(cost("nearest", 0.001), cost("dear", 0.009))
    assert why(cost("nearest", 0.001), cost("dear", 0.02)) == ""
    monkeypatch.setattr(cascading, "LEAST_AREA", 1.01)
    assert "does not tell right from wrong: area under the curve 0." in why(cost("nearest", 0.001), cost("dear", 0.02))


def test_a_failure_of_the_usual_cascades_first_look_is_recorded(
    tmp_path: Path, dear: Knowing, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> str:
        raise ValueError("no such row")

    monkeypatch.setattr(methods, "RUNGS", ("nearest", "dear"))
    monkeypatch.setattr(cascading, "doubtful", broken)
    project = Project(load_task(task(tmp_path, rungs="")))
    [step] = [one for one in project.plan.steps if one.usual]
    record, stored = measured(project, step, "key", float("inf"), lambda *_: None)
    assert (record.status, record.reason, stored) == ("failed", "ValueError: no such row", True)


def test_the_usual_cascade_is_tried_after_a_rung_that_meets(
    tmp_path: Path, dear: Knowing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(methods, "RUNGS", ("nearest", "dear"))
    monkeypatch.setattr(cascading, "DEARER", 0)  # neither costs much here
    folder = task(tmp_path, rungs="")
    found = api.climb(folder, progress=False)
    assert {one.rung for one in found.records} == {"nearest", "dear", "nearest>dear"}
    assert found.verdict == "meets" and {one.rung for one in found.decision.rungs if one.verdict == "meets"} >= {"dear"}
    assert not found.decision.left
    spent = json.loads((folder / ".rung" / "claims.json").read_text())["climbs"]
    assert [(one["error"], len(one["rungs"])) for one in spent] == [(pytest.approx(0.04), 2), (pytest.approx(0.008), 1)]
    assert spending(Project(load_task(folder))).later == pytest.approx(0.0016)
    again = api.climb(folder, progress=False)
    assert again.decision == found.decision and len(json.loads((folder / ".rung" / "claims.json").read_text())["climbs"]) == 2


def test_the_usual_cascade_takes_no_error_from_the_other_rungs(
    tmp_path: Path, dear: Knowing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(methods, "RUNGS", ("nearest", "dear"))
    alone = api.climb(task(tmp_path / "a", rungs="[nearest, dear]"), progress=False)
    beside = api.climb(task(tmp_path / "b", rungs=""), progress=False)
    assert alone.decision.claim and alone.decision.claim == replace(beside.decision.claim, outside=alone.decision.claim.outside)


def test_a_climb_that_stops_before_both_parts_says_nothing_of_their_cascade(
    tmp_path: Path, dear: Knowing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(methods, "RUNGS", ("nearest", "dear"))
    folder = task(tmp_path, rungs="", goal="{at_least: 0.2}")
    found = api.climb(folder, progress=False)
    assert found.verdict == "meets" and {one.rung for one in found.records} == {"nearest"}


def test_the_digest_of_a_cascade_names_both_parts() -> None:
    one = Predictor(kind="classify", model=ModelRef("rule", "nearest", "", "", "x"), instruction="a", labels=LABELS)
    two = replace(one, instruction="b")
    digests = {replace(one, cascade=Cascade(Threshold(0.5), then)).digest for then in (one, two)} | {one.digest}
    assert len(digests) == 3
