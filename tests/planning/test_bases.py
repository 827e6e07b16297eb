"""Several bases on one ladder: which rung stands on which, what each is quoted by, and what records are kept under."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from watcher import Watcher

from rung.advise import draw
from rung.cli.screens import plan as terminal_plan
from rung.climbing import climb as ladder
from rung.climbing import fit as fitting
from rung.climbing import measuring
from rung.climbing.climb import climb
from rung.climbing.preflight import inspect
from rung.climbing.project import Project
from rung.errors import TaskError
from rung.lm.engines import Engines
from rung.lm.inference.fake import FakeEngine
from rung.methods import ENCODER_ROWS
from rung.methods.base import options
from rung.planning.corrections import PastEstimate
from rung.planning.steps import bases_asked, break_evens, yearly
from rung.task import load_task
from rung.types import digest

LABELS = ("refund", "delay", "other")
FAR = "http://127.0.0.1:9/v1#org/big"
"""Nobody listens there: a plan asks nothing."""
RUNGS = ("majority", "zero-shot", "few-shot", "lora")


@pytest.fixture
def folder(tmp_path: Path, home: Path) -> Path:
    def rows(count: int, begin: int) -> str:
        told = [{"input": f"{LABELS[i % 3]} number {i}", "output": LABELS[i % 3]} for i in range(begin, begin + count)]
        return "".join(json.dumps(row) + "\n" for row in told)

    for name, count, begin in (("train", 30, 0), ("dev", 60, 1000), ("test", 60, 2000)):
        (tmp_path / f"{name}.jsonl").write_text(rows(count, begin))
    return tmp_path


def project(folder: Path, bases: Sequence[str] = ("fake", FAR), rungs: Sequence[str] = RUNGS, **more: Any) -> Project:
    task = {
        "task": "What is it about?",
        "kind": "classify",
        "labels": list(LABELS),
        "data": {"train": "train.jsonl", "dev": "dev.jsonl", "test": "test.jsonl"},
        "encoder": "fake",
        "goal": {"at_least": 0.999},
        "rungs": list(rungs),
        "prices": {"org/big": {"input": 2.0, "output": 10.0}},
        **({"bases": list(bases)} if len(bases) > 1 else {"base": bases[0]}),
        **more,
    }
    (folder / "rung.yaml").write_text(json.dumps(task))  # JSON is YAML
    return Project(load_task(folder))


def names(made: Project) -> set[str]:
    return {step.rung for step in made.plan.steps}


# --- which rung stands on which base ----------------------------------------------------------------------------------


def test_a_rung_stands_on_every_base_that_can_serve_it(folder: Path) -> None:
    assert names(project(folder)) == {"majority", "zero-shot", "zero-shot@big", "few-shot", "few-shot@big", "lora"}
    assert names(project(folder, [FAR, "fake"])) == {
        "majority",
        "zero-shot",
        "zero-shot@fake",
        "few-shot",
        "few-shot@fake",
        "lora@fake",
    }
    assert names(project(folder, ["fake"])) == set(RUNGS)


def test_what_no_base_can_serve_is_told_once(folder: Path) -> None:
    made = project(folder, [FAR, "http://127.0.0.1:9/v1#small"], ["zero-shot", "lora"])
    told = {step.rung: step.skip for step in made.plan.steps if step.skip}
    assert told == {"lora": "needs open weights, which big does not have"}


def test_a_rung_named_with_its_base_is_tried_there_alone(folder: Path) -> None:
    made = project(folder, rungs=["zero-shot@big", "few-shot@fake", f"zero-shot@{FAR}", "majority@big", "lora@big"])
    told = {step.rung: step.skip for step in made.plan.steps}
    assert told == {
        "zero-shot@big": "",
        "few-shot": "",
        "majority": "",
        "lora@big": "needs open weights, which big does not have",
    }


@pytest.mark.parametrize("rung", ["zero-shot@huge", "zero-shot@"])
def test_a_base_that_there_is_not(folder: Path, rung: str) -> None:
    with pytest.raises(TaskError, match="Known: fake, big"):
        _ = project(folder, rungs=[rung]).plan.steps


def test_the_usual_rungs_are_planned_for_every_base(folder: Path) -> None:
    made = project(folder)
    made = replace(made, task=made.task.model_copy(update={"rungs": None}))
    assert {"zero-shot", "zero-shot@big", "few-shot-similar@big", "lora", "encoder"} <= names(made)
    assert not {"encoder@big", "nearest@big", "lora@big"} & names(made)
    assert "encoder-contrastive" not in names(made), "30 train rows"


def test_with_many_rows_the_tuned_encoder_comes_after_the_untouched_one_on_a_slow_machine_too(folder: Path) -> None:
    rows = [{"input": f"{LABELS[i % 3]} {i}", "output": LABELS[i % 3]} for i in range(ENCODER_ROWS)]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = project(folder, bases=["fake"])
    slow = PastEstimate("key", "encoder", False, fit=9.0, row=9.0)
    made = replace(made, task=made.task.model_copy(update={"rungs": None}), past=([slow], []))
    steps = {one.rung: one for one in made.plan.steps}
    order = list(steps)
    assert order.index("encoder") < order.index("encoder-contrastive")
    assert steps["encoder-contrastive"].scale.row == steps["encoder"].scale.row == pytest.approx(9.0)


# --- what it is quoted by ---------------------------------------------------------------------------------------------


def test_each_rung_is_quoted_by_its_own_base_and_all_are_ordered_by_cost(folder: Path) -> None:
    made = project(folder, rungs=["zero-shot", "few-shot"])
    steps = {step.rung: step for step in made.plan.steps}
    near, far = steps["zero-shot"], steps["zero-shot@big"]
    assert near.estimate and far.estimate and near.estimate.memory_bytes > far.estimate.memory_bytes == 0
    facts = far.base.facts
    assert (near.base.facts.tariff, facts.parameters, near.base.start.model.name) == (None, 0, "fake")
    tokens = facts.shared_tokens + facts.label_tokens + facts.input_tokens
    assert far.estimate.per_1k_usd == pytest.approx((2.0 * tokens + 10.0 * facts.output_tokens) / 1000, rel=0.01)
    costs = [yearly(step.estimate) for step in made.plan.steps]
    assert costs == sorted(costs) and [step.rung for step in made.plan.steps][-1] == "few-shot@big"
    assert {one.above for one in break_evens(made.plan.steps)} | {one.below for one in break_evens(made.plan.steps)} <= set(steps)


def test_the_chart_knows_every_rung_and_where_a_base_differs(folder: Path) -> None:
    chart = project(folder).plan.chart
    assert {"zero-shot", "zero-shot@big", "lora"} <= set(chart.rungs)
    differs = {one.family: one.verdict for one in chart.bases["big"]}
    assert differs == dict.fromkeys(["adapters", "full fine-tuning", "reward tuning"], "don't")
    assert {one.family: one.verdict for one in chart.advice}["adapters"] != "don't"
    assert chart.rungs["zero-shot@big"].bet > chart.rungs["zero-shot"].bet, "a base of a million parameters is a poor bet"
    assert "zero-shot@big" in draw.mermaid(chart, "goal")
    assert project(folder, ["fake"]).plan.chart.bases == {}


def test_what_an_assumption_would_change_is_told_of_a_rung_on_another_base(folder: Path) -> None:
    free = {"kind": "answer", "labels": None, "goal": {"metric": "token_f1", "at_least": 0.9}}  # a label can be checked as it is
    flips = {flip.key: flip.changes for flip in project(folder, [FAR, "fake"], ["grpo"], **free).plan.chart.flips}
    assert "grpo@fake: don't becomes later" in flips["checkable"], "for the usual base nothing changes: it has no open weights"


def test_a_plan_says_which_base_a_name_means(folder: Path) -> None:
    from rich.console import Console

    made = project(folder)
    assert bases_asked(made.plan.steps) == {
        "zero-shot": "fake",
        "few-shot": "fake",
        "lora": "fake",
        "zero-shot@big": FAR,
        "few-shot@big": FAR,
    }
    console = Console(width=80, record=True)
    console.print(terminal_plan.plan(made.plan.steps, made.plan.chart, [], 1000, 60))
    shown = console.export_text()
    assert "rungs without @ on fake, @big on http://127.0.0.1:9/v1#org/big" in " ".join(shown.split())
    assert "few-shot@big" in shown and "adapters@big" in shown


def test_data_and_keys_go_only_where_they_may(folder: Path) -> None:
    outside = "https://models.example.org/v1#m"
    with pytest.raises(TaskError, match=f"bases has '{outside}', and needs.data_may_leave is no"):
        _ = project(folder, ["fake", outside], needs={"data_may_leave": "no"}).start
    with pytest.raises(TaskError, match="the same key would be sent to 2 servers"):
        _ = project(folder, ["openai:m", outside], api={"key_env": "A_KEY"}).start
    with pytest.raises(TaskError, match="the same key would be sent to 2 servers"):
        teacher = {"distil": {"teacher": "openai:m"}}
        _ = project(folder, ["fake", outside], api={"key_env": "A_KEY"}, methods=teacher).start
    assert project(folder, ["fake", outside], api={"key_env": "A_KEY"}).starts


def test_the_check_reads_rows_with_every_base_at_hand(folder: Path, base: Any) -> None:
    long = {"input": "refund " * 40, "output": "refund"}
    (folder / "train.jsonl").write_text("".join(json.dumps({**long, "input": f"{long['input']} {i}"}) + "\n" for i in range(20)))
    wide, short = base("llama"), folder / "short"
    shutil.copytree(wide, short)
    config = json.loads((short / "config.json").read_text())
    (short / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 48}))

    def found(*bases: str | Path) -> dict[str, tuple[str, str]]:
        findings, row = inspect(project(folder, list(map(str, bases)), ["zero-shot"]))
        assert row, "a row is shown as a base at hand would train on it"
        return {one.code: (one.severity, one.what) for one in findings if one.code == "longer-than-context"}

    assert found(short)["longer-than-context"][0] == "block"
    severity, what = found(wide, short)["longer-than-context"]
    assert severity == "warn" and what.startswith("short: ")
    assert found(FAR, short)["longer-than-context"][0] == "warn"


# --- what records are kept under --------------------------------------------------------------------------------------


def test_a_task_with_one_base_has_the_keys_it_always_had(folder: Path) -> None:
    """Written out as they were before there were several: records made then are found."""
    made = project(folder, ["fake"], ["zero-shot", "few-shot"])
    steps = {step.rung: step for step in made.plan.steps}
    [method] = steps["few-shot"].methods
    fit = digest([made.start.digest, "few-shot", method.fit_version, options(method), made.inputs.data.digest, 0])
    assert fitting.fit_keys(fitting.fit_context(made), [method]) == [fit]
    dev = [[row.id, {}] for row in made.inputs.splits.dev]
    for rung, fits in (("zero-shot", []), ("few-shot", [fit])):
        key = digest([made.start.digest, fits, dev, "accuracy", 1000, made.machine.usd_per_hour, made.criteria.probe.digest])
        assert ladder.rung_key(made, steps[rung]) == key
    assert "bases" not in made.task.model_dump()
    paid = project(folder, [FAR], ["zero-shot"])
    parts = [paid.start.digest, [], dev, "accuracy", 1000, paid.machine.usd_per_hour, paid.criteria.probe.digest]
    key = digest([*parts, asdict(paid.engines.price(paid.start.model))])  # type: ignore[arg-type]  # it has a price
    assert ladder.rung_key(paid, paid.plan.steps[0]) == key


def test_another_base_beside_it_changes_no_key_and_no_answer_is_asked_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    plain = FakeEngine.choose

    def choose(self: FakeEngine, prompts: Any, labels: Any, progress: Any = None) -> Any:
        asked.extend(prompt.input for prompt in prompts)
        return plain(self, prompts, labels, progress)

    monkeypatch.setattr(FakeEngine, "choose", choose)
    before = climb(project(folder, ["fake"], ["zero-shot", "few-shot"]), Watcher()).records
    asked.clear()
    made = project(folder, [FAR, "fake"], ["zero-shot@fake", "few-shot@fake"])
    after = climb(made, Watcher()).records
    assert asked == []
    found = {record.rung: record.predictor for record in after}
    assert found == {f"{record.rung}@fake": record.predictor for record in before}, "their base is no longer the usual one"
    assert ladder.chosen(made, "few-shot@fake").digest == found["few-shot@fake"]
    assert ladder.chosen(made, "zero-shot@fake").model.name == "fake"
    assert ladder.chosen(made, "zero-shot").model.name == FAR


def test_forgetting_is_held_against_the_rungs_own_base(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    untouched: list[str] = []
    monkeypatch.setattr(measuring.forgetting, "measure_forgetting", lambda after, before, *rest: untouched.append(before.name))
    made = project(folder, [FAR, "fake"], ["zero-shot@fake"])
    [record] = climb(made, Watcher()).records
    assert untouched == ["fake"] and record.provenance.base == made.starts["fake"].model.digest


def test_fit_takes_the_usual_base_unless_it_is_told(folder: Path, machine: Any) -> None:
    made = Project(project(folder).task, Engines(machine))
    chain = next(step.methods for step in made.plan.steps if step.rung == "few-shot")
    usual, _ = fitting.fit(fitting.fit_context(made), chain, float("inf"), lambda *_: None)
    assert usual.model.name == "fake"
    near, far = fitting.fit_context(made), fitting.fit_context(made, made.starts["big"])
    fitted, _ = fitting.fit(far, chain, float("inf"), lambda *_: None)
    assert fitted.model.name == FAR and fitting.fit_keys(far, chain) != fitting.fit_keys(near, chain)
