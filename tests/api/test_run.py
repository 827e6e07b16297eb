"""`rung.climb` and the others do in Python what the commands do, with the same records."""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commands import ended
from typer.testing import CliRunner

import rung
import rung.api
from rung.cli import app
from rung.climbing.executors import local, on_ray

pd = pytest.importorskip("pandas")

WORDS = {"refund": ["money", "back", "repay"], "delivery": ["parcel", "courier", "late"], "fault": ["broken", "hums", "dead"]}
FRAME = pd.DataFrame(
    [
        {"text": f"my {word} case {i} {label[0]}{i}", "intent": label}
        for i in range(10)
        for label, words in WORDS.items()
        for word in words
    ]
)


def task(**settings: Any) -> rung.Task:
    usual: dict[str, Any] = {"examples": FRAME, "rungs": ["majority", "nearest"], "goal": {"accuracy": 0.6}, "folder": "support"}
    usual |= {"input": "text", "output": "intent", "base": "fake", "encoder": "fake"}
    return rung.Task(task="Name the intent.", kind="classify", **usual | settings)


def command(*words: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, words)
    assert (ended(words, done.exit_code) if code == 0 else done.exit_code) == code, done.output
    return done.stdout


@pytest.fixture(autouse=True)
def place(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_where_rungs_are_measured_is_an_argument(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(on_ray, "on_ray", lambda *given: asked.append(given) or local)
    assert rung.climb(task(), on="ray", parallel=2, gpus_per_rung=0).verdict == "meets" and asked == [(2, 0, str)]
    for call, where in (
        (lambda: rung.climb("support", on="mars"), "on"),
        (lambda: rung.climb("support", parallel=2), "parallel"),
        (lambda: rung.climb("support", on="ray", parallel=-1), "parallel"),
        (lambda: rung.climb("support", gpus_per_rung=1), "gpus_per_rung"),
        (lambda: rung.fit("support", "nearest", on="ray"), "on"),
        (lambda: rung.fit("support", "nearest", workers=2), "workers"),
    ):
        with pytest.raises(rung.RungError) as found:
            call()
        assert found.value.where == where
    assert rung.fit("support", "nearest").rows[0]["status"] == "done"


def test_a_shared_store_is_an_argument_and_later_calls_use_it(place: Path) -> None:
    pytest.importorskip("sqlalchemy")
    assert rung.climb(task(), store=f"sqlite:///{place}/team.db").verdict == "meets"
    assert (place / "team.db").exists() and not (place / "support" / ".rung" / "records.jsonl").exists()
    assert rung.load("support").rung == "nearest"


def test_from_a_frame_to_answers(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    climb = rung.climb(task())
    assert "nearest" in capsys.readouterr().err  # progress
    assert ((climb.verdict, climb.chosen) == ("meets", "nearest") and "at least" in climb.why) or ">=" in climb.why
    assert climb.test and climb.test.low <= climb.test.value <= climb.test.high and climb.test.n > 10
    board = climb.leaderboard
    assert list(board.rung) == ["majority", "nearest"] and list(board.verdict) == ["fails", "meets"]
    answers = climb.predictor.predict(["the courier is late", "it is dead"])
    assert [answer.label for answer in answers] == [answer.text for answer in answers] == ["delivery", "fault"]
    assert all(0 < answer.confidence <= 1 and not answer.abstained and not answer.error for answer in answers)
    assert rung.load("support").predict(FRAME.head(3)) and rung.load("support", rung="majority").rung == "majority"
    assert climb.report() == place / "support" / "report.html"


def test_the_records_are_those_of_the_command_line(asked: list[str]) -> None:
    climb = rung.climb(task(rungs=["zero-shot"]), progress=False)
    times, found = len(asked), json.loads(command("show", "support", "--json", code=0))
    assert found["verdict"] == climb.verdict and found["rungs"][0]["score"]["value"] == climb.rows[0]["score"]
    assert json.loads(command("climb", "support", "--json", code=0)) == found
    rung.climb("support", progress=False)
    assert times > 20 and len(asked) == times  # nothing is asked twice


def test_progress_can_be_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    rung.climb(task(), progress=False)
    assert capsys.readouterr() == ("", "")


def test_an_edited_task_is_measured_anew(place: Path) -> None:
    first = rung.climb(task(), progress=False)
    second = rung.climb(task(examples=FRAME.iloc[:60]), progress=False)
    assert second.rows[0]["n"] < first.rows[0]["n"]
    lines = (place / "support" / ".rung" / "records.jsonl").read_text().splitlines()
    assert len(lines) == 4
    task(examples=FRAME.iloc[:70])
    assert "the data have changed" in CliRunner().invoke(app, ["show", "support"]).output


def test_test_rows_stay_sealed_until_the_goal_is_met(place: Path) -> None:
    parts = {"train": FRAME.iloc[:50], "dev": FRAME.iloc[50:70], "test": FRAME.iloc[70:], "examples": None}
    missed = rung.climb(task(**parts, goal={"accuracy": 0.7}, rungs=["majority"]), progress=False)
    assert missed.verdict != "meets" and missed.test is None and not (place / "support" / ".rung" / "test.json").exists()
    met = rung.climb(task(**parts, goal={"accuracy": 0.3}), progress=False)
    assert met.verdict == "meets" and met.test and met.test.n == 20


def test_one_rung_alone(place: Path) -> None:
    one = rung.fit(task(), "few-shot", progress=False)
    assert one.chosen == "few-shot" and one.test is None and len(one.records) == 1
    assert [answer.label for answer in one.predictor.predict(["x"])] and not (
        place / "support" / ".rung" / "decision.json"
    ).exists()
    with pytest.raises(rung.RungError, match="no rung has been chosen"):
        rung.load("support")
    with pytest.raises(rung.TaskError, match="few-shot-similar"):
        rung.fit("support", "lorra")


def test_plan_and_check() -> None:
    plan = rung.plan(task())
    assert [row["rung"] for row in plan.rows] == list(plan.table.rung) == ["majority", "nearest"]
    assert plan.table.usd_per_month.ge(0).all() and "Estimates" in plan._repr_html_()
    assert {finding.code for finding in rung.check("support")} >= {"goal-margin"}


def test_data_that_cannot_decide_are_refused() -> None:
    with pytest.raises(rung.DataError, match="Nothing was spent"):
        rung.climb(task(examples=FRAME.head(6)), progress=False)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("a text", "Put it into a list"),
        ([3], "item 1: 3 is not text"),
        (["a", None], "item 2: None is not text"),
        ([{"txt": "a"}], "there is no column 'text'"),
        (pd.DataFrame({"txt": ["a"]}), "there is no column 'text'"),
    ],
    ids=["text", "number", "none", "dict", "frame"],
)
def test_rows_that_cannot_be_asked(rows: Any, said: str) -> None:
    predictor = rung.fit(task(), "majority", progress=False).predictor
    with pytest.raises(rung.DataError) as caught:
        predictor.predict(rows)
    assert said in str(caught.value)


def test_rows_come_in_many_forms() -> None:
    predictor = rung.fit(task(), "nearest", progress=False).predictor
    for rows in (FRAME.text.head(2), FRAME.head(2), list(FRAME.text.head(2)), [{"text": text} for text in FRAME.text.head(2)]):
        assert [answer.label for answer in predictor.predict(rows)] == ["refund", "refund"]
    assert predictor.predict([]) == []
    with pytest.raises(rung.TaskError, match="no document carries the label 'staff'"):
        predictor.predict(["x"], access=["staff"])


def test_the_leaderboard_escapes_what_it_shows() -> None:
    """Reasons hold what models and files say."""
    climb = rung.climb(task(), progress=False)
    nasty = "<script>alert(1)</script>\x1b[2J\u202e"
    record = replace(climb.records[0], reason=nasty, rung=nasty)
    shown = replace(climb, records=(record,), untested=nasty, test=None, metric=nasty)._repr_html_()
    assert "<script>" not in shown and "\x1b" not in shown and "\u202e" not in shown and "&lt;script&gt;" in shown


def test_without_pandas_the_leaderboard_is_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    climb = rung.climb(task(), progress=False)
    monkeypatch.setattr("rung.api.result.find_spec", lambda name: None)
    assert climb.leaderboard == climb.rows and isinstance(climb.rows, list)


def test_examples_in_docstrings_run() -> None:
    rung.climb(task(), progress=False)
    ran = []
    for name in rung.__all__:
        for block in re.findall(r"```python\n(.*?)```", inspect.getdoc(getattr(rung.api, name)) or "", re.DOTALL):
            exec(compile(block, name, "exec"), {"rung": rung, "frame": FRAME, "task": task()})
            ran.append(name)
    assert sorted(ran) == sorted(name for name in rung.__all__ if not name.endswith("Error"))
