"""Which settings are tried, and which rows of train they are scored on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rung import methods
from rung.climbing.fit import FitContext
from rung.climbing.project import Project
from rung.climbing.train_parts import split_train
from rung.data.split import question
from rung.errors import TaskError
from rung.methods.base import options
from rung.task import load_task
from rung.tune.trials import MAX_PROPOSED, Trial, pace, plan
from rung.types import Cost, Example

RATES = "lora.learning_rate=3e-4,1e-3,3e-3"


def names(trials: tuple[Trial, ...]) -> list[str]:
    return [trial.name for trial in trials]


def test_the_present_settings_come_first_and_no_settings_twice() -> None:
    found = plan("lora", {}, [RATES, "lora.rank=8,16"])
    assert names(found) == [
        "present settings",
        "lora.learning_rate=0.0003 lora.rank=8",
        "lora.learning_rate=0.0003 lora.rank=16",
        "lora.learning_rate=0.001 lora.rank=8",
        "lora.learning_rate=0.003 lora.rank=8",
        "lora.learning_rate=0.003 lora.rank=16",
    ]
    assert len({json.dumps([options(m) for m in trial.methods]) for trial in found}) == len(found)


def test_what_rung_yaml_says_is_present_and_stays_where_nothing_else_is_tried() -> None:
    found = plan("few-shot+lora", {"lora": {"rank": 4, "epochs": 2}}, ["lora.rank=4,8", "few-shot.shots=2"])
    assert [(t.methods[1].rank, t.methods[1].epochs) for t in found] == [(4, 2), (4, 2), (8, 2)]  # type: ignore[attr-defined]
    assert [t.methods[0].shots for t in found] == [0, 2, 2]  # type: ignore[attr-defined]


def test_values_are_read_as_rung_yaml_reads_them() -> None:
    found = plan("dora", {}, ["dora.learning_rate=1e-5,1", "dora.stabilised=true"])
    assert [t.settings["dora.learning_rate"] for t in found[1:]] == [1e-5, 1]
    assert type(found[2].methods[0].learning_rate) is float  # type: ignore[attr-defined]
    assert plan("encoder", {}, ["encoder.strengths=[1,3],[10.0]"])[2].methods[0].strengths == (10.0,)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        (["lora.rnk=8"], "no option 'rnk'"),
        (["lora.rank=eight"], "rank must be a whole number of at least 1, got 'eight'"),
        (["dora.rank=8"], "no method 'dora'"),
        (["lora.rank"], "sets nothing"),
        (["lora.rank="], "sets nothing"),
        (["rank=8"], "sets nothing"),
        (["lora.rank=[8"], "not valid YAML"),
        (["lora.rank=16"], "nothing to try"),
    ],
)
def test_what_cannot_be_set_is_said_before_anything_is_spent(sets: list[str], said: str) -> None:
    with pytest.raises(TaskError, match=said.replace("[", r"\[")) as error:
        plan("lora", {}, sets)
    assert "rung.yaml" not in error.value.where


def test_a_fault_in_rung_yaml_is_named_as_such() -> None:
    with pytest.raises(TaskError) as error:
        plan("lora", {"lora": {"rnk": 3}}, ["lora.rank=8"])
    assert error.value.where == "rung.yaml methods.lora"


@pytest.mark.parametrize("rung", ["zero-shot", "majority", "encoder"])
def test_what_proposes_nothing_is_not_tuned_by_itself(rung: str) -> None:
    with pytest.raises(TaskError, match="nothing to try"):
        plan(rung, {})


def test_the_methods_propose_where_nothing_is_said() -> None:
    found = plan("lora", {"lora": {"learning_rate": 1e-4}})
    assert len(found) == 9 and found[0].settings == {}
    assert {t.methods[0].learning_rate for t in found} == {1e-4, 3e-5, 3e-4}  # type: ignore[attr-defined]
    assert {t.methods[0].rank for t in found} == {8, 16, 32}  # type: ignore[attr-defined]
    assert len(plan("rag+lora", {})) == MAX_PROPOSED < len(plan("rag+lora", {}, most=30)) == 30


@settings(deadline=None)
@given(st.integers(2, 20), st.integers(0, 5))
def test_of_many_trials_some_are_drawn_by_the_seed(most: int, seed: int) -> None:
    sets = [RATES, "lora.rank=4,8,32,64"]
    every, drawn = plan("lora", {}, sets), plan("lora", {}, sets, most, seed)
    assert len(drawn) == min(most, 13) and drawn[0] == every[0]
    assert drawn == plan("lora", {}, sets, most, seed)
    order = [every.index(trial) for trial in drawn]
    assert order == sorted(set(order))


@settings(deadline=None)
@given(
    st.lists(st.floats(1e-7, 10), min_size=1, max_size=3),
    st.lists(st.integers(1, 200), min_size=1, max_size=3),
)
def test_the_lines_are_read_back_as_the_trial(
    tmp_path_factory: pytest.TempPathFactory, rates: list[float], ranks: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("lines")
    sets = ["lora.learning_rate=" + ",".join(map(repr, rates)), "lora.rank=" + ",".join(map(str, ranks))]
    for trial in plan("few-shot+lora", {"lora": {"epochs": 2}, "qlora": {"rank": 4}}, sets):
        text = "task: x\nkind: generate\ndata: {examples: x.csv}\ngoal: {at_least: 0.5}\n" + trial.lines("few-shot+lora")
        (folder / "rung.yaml").write_text(text)
        task = load_task(folder)
        assert methods.rung("few-shot+lora", task.methods) == trial.methods
        assert list(task.methods) == ["lora"]


def test_the_pace_is_that_of_the_trials_fitted() -> None:
    first, second, third = (replace(one, estimate=Cost(fit_seconds=10)) for one in plan("lora", {}, ["lora.rank=2,3"]))
    assert pace([first, second, third]) == 1.0
    assert pace([replace(first, fit_seconds=50.0), replace(second, fit_seconds=30.0), third]) == 4.0
    assert pace([replace(first, fit_seconds=50.0, estimate=Cost()), second]) == 1.0, "nothing was quoted"


# --- which rows -------------------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path, home: Path) -> Callable[..., Project]:
    def made(rows: int, group: bool = False, **more: Any) -> Project:
        lines = [{"input": f"case {i}", "output": "ab"[i % 2], "group": f"g{i // 4}"} for i in range(rows)]
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        data = {"examples": "rows.jsonl", **({"group": "group"} if group else {}), **more}
        task = {"task": "x", "kind": "classify", "base": "fake", "encoder": "fake", "goal": {"at_least": 0.5}, "data": data}
        (tmp_path / "rung.yaml").write_text(json.dumps(task))
        return Project(load_task(tmp_path))

    return made


def carved(whole: Project) -> tuple[FitContext, tuple[Example, ...]]:
    found = split_train(whole, whole.plan.bases["fake"])
    assert found.facts.train_rows == len(found.context.data.examples)
    return found.context, found.rows


def test_rows_are_carved_from_train_alone(project: Callable[..., Project]) -> None:
    whole = project(400)
    inner, rows = carved(whole)
    left, out = {row.id for row in inner.data.examples}, {row.id for row in rows}
    assert left | out == {row.id for row in whole.inputs.splits.train} and not left & out
    assert 0.15 < len(out) / len(left | out) < 0.35
    assert whole.inputs.data.examples == whole.inputs.splits.train, "the project itself is as it was"
    assert inner.data.labels == whole.inputs.data.labels and inner.start == whole.start


def test_new_rows_move_no_row_and_groups_stay_whole(project: Callable[..., Project]) -> None:
    few, many = ({row.id for row in carved(project(n, group=True))[1]} for n in (400, 800))
    inner, rows = carved(project(800, group=True))
    train = {row.id for row in project(400, group=True).inputs.splits.train}
    assert few == many & train
    assert not {row.group for row in rows} & {row.group for row in inner.data.examples}


def test_too_few_rows_are_refused(project: Callable[..., Project]) -> None:
    with pytest.raises(TaskError, match="at least 16 are needed"):
        carved(project(40))


def test_of_few_rows_more_are_taken_and_of_many_a_thousand(project: Callable[..., Project]) -> None:
    assert 16 <= len(carved(project(100))[1]) <= 34
    assert 900 <= len(carved(project(16_000))[1]) <= 1100


def test_preferences_about_a_carved_row_are_not_learnt_from(project: Callable[..., Project], tmp_path: Path) -> None:
    asked = [{"prompt": f"case {i}", "chosen": "a", "rejected": "b"} for i in range(400)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(one) + "\n" for one in asked))
    inner, rows = carved(project(400, preferences="pairs.jsonl"))
    left = {one.input for one in inner.data.preferences}
    assert 0 < len(left) < 400 and not left & {row.input for row in rows}
    assert {question(row) for row in inner.data.examples} <= left
