"""`--store` and `rung store`: a climb into a database, what later commands find, and copies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import command, ended

pytest.importorskip("sqlalchemy")


@pytest.fixture
def folder(tmp_path: Path, home: Path) -> Path:
    place = tmp_path / "support"
    place.mkdir()
    rows = [{"input": f"row {i}: it is {'abc'[i % 3]}", "output": "abc"[i % 3]} for i in range(120)]
    (place / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = "task: Say where.\nkind: classify\ndata: {examples: rows.jsonl}\nbase: fake\nrungs: [majority, nearest]\n"
    (place / "rung.yaml").write_text(task + "goal: {at_least: 0.3}\n")
    return place


def test_a_climb_into_a_database_is_found_by_later_commands_and_copied(folder: Path, tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path}/store.sqlite?files={tmp_path}/files"
    climbed = command("climb", folder, "--store", address, "--json")
    assert ended(["climb"], climbed.returncode) == 0, climbed.stderr
    assert not (folder / ".rung" / "records.jsonl").exists()
    shown = command("show", folder, "--json")
    assert json.loads(shown.stdout) == json.loads(climbed.stdout)
    copied = command("store", "copy", address, folder, "--json")
    assert json.loads(copied.stdout)["lines"] > 0 and (folder / ".rung" / "records.jsonl").exists()
    again = command("climb", folder, "--store", "folder", "--json")
    assert json.loads(again.stdout)["rungs"] == json.loads(climbed.stdout)["rungs"]
    assert not (folder / ".rung" / "store.json").exists()
    assert command("store", "copy", folder, address).stdout.startswith("copied: 0 texts, 0 lines, 0 fits")


@pytest.mark.parametrize("words", [("climb", "FOLDER", "--store", "x"), ("store", "copy", "sqlite:////a", "sqlite:////b")])
def test_what_is_no_address_says_what_to_write(folder: Path, words: tuple[str, ...]) -> None:
    found = command(*(folder if word == "FOLDER" else word for word in words))
    assert found.returncode == 2
    assert "Write postgresql://USER@HOST/NAME" in found.stderr or "Add ?task=NAME" in found.stderr
