"""`rung.Task` writes a folder that every command works on; given again it is the same task, and what is not its own stays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import rung
from rung.api import written
from rung.cli import app
from rung.errors import TaskError
from rung.task import load_task
from rung.task.reading import read_value

ROWS = [{"text": f"{word} {i}", "intent": label} for i in range(30) for label, word in (("refund", "money"), ("fault", "broken"))]


def made(**settings: Any) -> rung.Task:
    usual: dict[str, Any] = {"task": "Name the intent.", "kind": "classify", "goal": {"accuracy": 0.6}, "examples": ROWS}
    return rung.Task(**usual | {"input": "text", "output": "intent", "base": "fake", "encoder": "fake"} | settings)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_task_is_a_folder_named_by_its_words(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = made()
    assert task.folder == place / "rung-tasks" / "name-the-intent" and "rung-tasks/name-the-intent" in capsys.readouterr().err
    assert task.settings == load_task(task.folder) == rung.Task.load(task.folder).settings
    assert [json.loads(line) for line in (task.folder / "data" / "examples.jsonl").read_text().splitlines()] == ROWS
    made(folder="mine")
    assert (place / "mine" / "rung.yaml").exists() and not capsys.readouterr().err


def test_the_same_task_again_writes_nothing(place: Path) -> None:
    files = [made().folder / name for name in ("rung.yaml", "data/examples.jsonl")]
    before = [path.stat().st_mtime_ns for path in files]
    made()
    assert [path.stat().st_mtime_ns for path in files] == before
    made(examples=ROWS[:40])
    assert len(files[1].read_text().splitlines()) == 40 and files[0].stat().st_mtime_ns == before[0]


def test_what_was_not_written_from_here_stays(place: Path) -> None:
    task = made(folder="mine")
    path = task.folder / "rung.yaml"
    path.write_text(path.read_text() + "seed: 3\n")
    with pytest.raises(TaskError, match="was edited after"):
        made(folder="mine")
    path.write_text("task: mine\n")
    with pytest.raises(TaskError, match="did not write"):
        made(folder="mine")
    assert path.read_text() == "task: mine\n"
    path.unlink()
    (place / "mine" / "data" / "examples.jsonl").write_text("mine")
    with pytest.raises(TaskError, match=r"examples\.jsonl"):
        made(folder="mine")
    assert not path.exists()


def test_an_instruction_without_words_has_a_folder_too() -> None:
    names = [written.default_folder(text).name for text in ("?!", "!?", "à propos 日本", "x" * 99, "x" * 98)]
    assert len(set(names)) == 5 and names[2] == "à-propos-日本" and all(0 < len(name) < 60 for name in names)


def test_paths_are_those_of_the_working_folder(place: Path) -> None:
    (place / "docs").mkdir()
    (place / "docs" / "a.md").write_text("text")
    (place / "rows.csv").write_text("text,intent\na,refund\nb,fault\n")
    (place / "models" / "own").mkdir(parents=True)
    task = made(examples="rows.csv", documents=["docs"], base="models/own", folder="deep/er/task")
    assert task.settings.data.examples == ("../../../rows.csv",) and task.settings.data.documents == ("../../../docs",)
    assert task.settings.base == str(place / "models" / "own")
    assert made(examples=[Path("rows.csv")], folder="x").settings.data.examples == ("../rows.csv",)


@pytest.mark.parametrize(
    ("goal", "found"),
    [
        (0.7, {"at_least": 0.7}),
        ({"macro_f1": 0.7}, {"metric": "macro_f1", "at_least": 0.7}),
        ({"macro_f1": 0.7, "latency_ms": 9.0}, {"metric": "macro_f1", "at_least": 0.7, "latency_ms": 9.0}),
        ({"metric": "macro_f1", "at_least": 0.7}, {"metric": "macro_f1", "at_least": 0.7}),
    ],
)
def test_goals(goal: Any, found: dict[str, Any]) -> None:
    told = made(goal=goal).settings.goal.model_dump()
    assert {key: told[key] for key in found} == found


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"goal": {"accuracy": 0.7, "acuracy": 0.8}}, "unknown key 'accuracy' under 'goal'"),
        ({"goal": {"accuracy": 80}}, "Did you mean 0.8?"),
        ({"volum": 3}, "Did you mean 'volume'?"),
        ({"data": {}}, "Give its keys by themselves"),
        ({"volume": object()}, "cannot be written"),
        ({"volume": float("nan")}, "cannot be written"),
        ({"encoder": "half \ud83d"}, "cannot be written"),
        ({"examples": None}, "there are no rows"),
        ({"examples": None, "train": ROWS, "dev": ROWS[:3], "kind": "sort"}, "'classify', 'extract'"),
    ],
)
def test_faults_are_named_and_nothing_is_written(place: Path, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(TaskError) as caught:
        made(**settings)
    assert said in str(caught.value) and " line " not in str(caught.value)
    assert not list(place.glob("rung-tasks/*/rung.yaml"))


texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats(-1e14, 1e14) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@given(values)
def test_every_value_is_read_back_as_it_was_given(value: Any) -> None:
    assert read_value(f"key: {written._yaml(value)}\n", "test") == {"key": value}


def test_the_command_line_works_on_it(place: Path) -> None:
    task = made(rungs=["majority", "nearest"], train=ROWS[:40], dev=ROWS[40:], test=ROWS[:20], examples=None)
    for words in (["check"], ["plan"], ["climb"], ["show"], ["report"]):
        done = CliRunner().invoke(app, [*words, str(task.folder)])
        assert done.exit_code in (0, 1, 3, 4) and not isinstance(done.exception, TypeError), done.output
