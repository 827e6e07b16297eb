"""`rung tune` as a user types it, and what a person sees of it."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from rung.cli import app
from rung.cli.screens.tune import Board, fitting_left
from rung.errors import RungError
from rung.tune.trials import plan
from rung.types import Cost, Interval


@pytest.fixture
def task(tmp_path: Path, home: Path) -> Path:
    """Rows whose intent their words tell: the nearest row has it, the commonest label seldom."""
    words = {"refund": "money", "delivery": "parcel", "fault": "broken"}
    rows = [f"{word} {i},{label}" for i in range(80) for label, word in words.items()]
    (tmp_path / "rows.csv").write_text("text,intent\n" + "\n".join(rows) + "\n")
    (tmp_path / "rung.yaml").write_text(
        "task: Name the intent.\nkind: classify\nbase: fake\nencoder: fake\nrungs: [majority]\n"
        "data: {examples: rows.csv, input: text, output: intent}\ngoal: {metric: accuracy, at_least: 0.6}\n"
    )
    return tmp_path


def run(*words: str | Path, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["tune", *map(str, words)])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done.stdout


def test_the_best_settings_and_the_lines_to_write(task: Path) -> None:
    told = run(task, "majority", "--set", "majority.rule=nearest")
    assert "methods:\n  majority: {rule: nearest}" in told and "gain" in told
    found = json.loads(run(task, "majority", "--set", "majority.rule=nearest", "--json"))
    assert found["verdict"] == "gain" and found["trials"][found["best"]]["settings"] == {"majority.rule": "nearest"}
    assert found["difference"]["low"] > 0 and found["rows"] + found["fitted_on"] < 240
    text = (task / "rung.yaml").read_text()
    (task / "rung.yaml").write_text(text + found["lines"])
    assert "no gain" in run(task, "majority", "--set", "majority.rule=majority")


def test_the_folder_may_be_left_out(task: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(task)
    assert json.loads(run("nearest", "--set", "nearest.rule=majority", "--json"))["verdict"] == "no gain"


def test_nothing_told_is_exit_code_1_and_a_fault_a_sentence(task: Path) -> None:
    found = json.loads(run(task, "few-shot-similar", "--set", "few-shot-similar.shots=2", "--json", code=1))  # no such encoder
    assert [trial["status"] for trial in found["trials"]] == ["failed", "failed"] and found["verdict"] == "untold"
    with pytest.raises(RungError, match="nothing to try"):
        run(task, "majority")
    with pytest.raises(RungError, match="no option 'ruel'"):
        run(task, "majority", "--set", "majority.ruel=nearest")


# --- what a person sees -----------------------------------------------------------------------------------------------


def test_the_time_left_follows_what_the_others_took() -> None:
    first, *others = (replace(one, estimate=Cost(fit_seconds=10)) for one in plan("lora", {}))
    assert fitting_left([first, *others]) == 90
    assert fitting_left([replace(first, status="fitted", fit_seconds=20), *others]) == 160


def test_the_board_is_a_table_or_lines() -> None:
    trials = list(plan("lora", {}, ["lora.rank=8"]))
    for terminal in (True, False):
        text = io.StringIO()
        with Board(Console(file=text, force_terminal=terminal, width=100), "accuracy") as board:
            board.changed(trials)
            board.progress(1, "step 3 of 9, 5 s left", 0.3)
            board.changed([trials[0], replace(trials[1], score=Interval(0.5, 0.4, 0.6, 20))])
            board.screen.console.print(board.draw())
        assert "lora.rank=8" in text.getvalue() and "0.500" in text.getvalue()
