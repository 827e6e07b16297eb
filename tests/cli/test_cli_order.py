"""FOLDER stands first in every command; commands that name the rung first are still understood."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from rung.cli import app
from rung.cli.common import folder_and_rung

TASK = (
    "task: Name the intent.\nkind: classify\nbase: fake\nencoder: fake\nrungs: [majority]\n"
    "data: {examples: rows.csv, input: text, output: intent}\ngoal: {at_least: 0.6}\n"
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two tasks in the working folder; one is named like a rung."""
    for name in ("support", "nearest"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "rung.yaml").write_text(TASK)
        rows = [f"{word} {i},{label}" for i in range(90) for label, word in (("refund", "money"), ("fault", "broken"))]
        (tmp_path / name / "rows.csv").write_text("text,intent\n" + "\n".join(rows) + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("given", "folder"),
    [
        (("support", "lora"), "support"),
        (("lora", "support"), "support"),
        (("support/rung.yaml", "few-shot+lora@gpt"), "support/rung.yaml"),
        (("few-shot+lora@gpt", "support/rung.yaml"), "support/rung.yaml"),
        (("nearest", "support"), "support"),  # both are tasks: the other one names no rung
        (("support", "nearest"), "support"),
        (("nearest", "nearest"), "nearest"),
        (("support", "lorra"), "support"),  # a rung mistyped
        (("lorra", "support"), "support"),
        (("supprt", "lora"), "supprt"),  # a folder mistyped
        (("lora", "supprt"), "supprt"),
        (("supprt", "lorra"), "supprt"),
    ],
)
def test_either_order_is_understood(place: Path, given: tuple[str, str], folder: str) -> None:
    rung = given[1] if given[0] == folder else given[0]
    assert folder_and_rung(*given) == (Path(folder), rung)


def test_fit_and_tune_take_both_orders(place: Path, home: Path) -> None:
    for words in (["support", "majority"], ["majority", "support"]):
        fitted = CliRunner().invoke(app, ["fit", *words, "--json"])
        assert json.loads(fitted.stdout)["status"] == "done", fitted.output
        tuned = CliRunner().invoke(app, ["tune", *words, "--set", "majority.rule=nearest", "--json"])
        assert json.loads(tuned.stdout)["trials"], tuned.output


def test_the_folder_is_the_first_argument_of_every_command() -> None:
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        arguments = [one.name for one in command.params if one.param_type_name == "argument"]
        assert arguments[:1] in (["folder"], ["folders"]) or name in ("models", "keys", "store"), f"{name}: {arguments}"
