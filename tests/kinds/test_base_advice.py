"""Which base: the table, what rules a base out, and `bases: auto`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rung.cli.commands import app
from rung.climbing import auto_bases
from rung.climbing.project import Project
from rung.errors import TaskError
from rung.machine import Machine
from rung.planning.advised_bases import advise, choose
from rung.planning.base_table import table
from rung.planning.languages import language
from rung.task import load_task
from rung.types import Example

SMALL = "smollm2-135m-instruct"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [{"input": f"where is my parcel number {i}?", "output": ("delay", "refund")[i % 2]} for i in range(80)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "rung.yaml").write_text(
        "task: Name it.\nkind: classify\ndata: {examples: rows.jsonl}\nbases: auto\nencoder: fake\ngoal: {at_least: 0.5}\n"
    )
    return tmp_path


def why(task: Any, machine: Machine, name: str, rows: tuple[Example, ...] = ()) -> str:
    return next(one.why_not for one in advise(task, rows, machine) if one.base.name == name)


def test_every_line_has_its_source_and_date() -> None:
    found, read = table()
    assert len({one.name for one in found}) == len(found) >= 15 and len(read) == 10
    sizes = [one.parameters for one in found if one.parameters]
    assert sizes == sorted(sizes) and sizes[0] < 2e8 and sizes[-1] > 6e10
    for one in found:
        assert one.source.startswith("https://") and len(one.date) == 7, one.name
        assert all(score.source.startswith("https://") and 0 < score.value < 100 for score in one.scores), one.name


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("where is my parcel and when do you send the refund", "en"),
        ("Ich habe die Lampe nicht bestellt und möchte mein Geld zurück", "de"),
        ("je ne trouve pas la facture de ma commande et je vous écris", "fr"),
        ("no me ha llegado el paquete que compré en la tienda", "es"),
        ("我的包裹在哪里", "zh"),
        ("荷物はどこですか", "ja"),
        ("где моя посылка", "ru"),
        ("xk12 ab-9 zz", ""),
        ("", ""),
    ],
)
def test_language(text: str, code: str) -> None:
    assert language([text]) == code


def test_what_rules_a_base_out(folder: Path, machine: Machine) -> None:
    task = load_task(folder)
    assert why(task, machine, SMALL) == ""
    assert "GB of memory of 8.0" in why(task, machine, "meta-llama/Llama-3.1-70B-Instruct")
    assert why(task, machine, "openai:gpt-4o-mini") == "needs.data_may_leave does not say yes"
    leaves = task.model_copy(update={"needs": task.needs.model_copy(update={"data_may_leave": "yes"})})
    assert why(leaves, machine, "openai:gpt-4o-mini") == ""
    chinese = (Example("我的包裹在哪里", "delay"),)
    assert "the language of the rows (zh)" in why(task, machine, SMALL, chinese)
    assert why(task, machine, "Qwen/Qwen2.5-0.5B-Instruct", chinese) == ""
    long = (Example("word " * 40_000, "delay"),)
    assert "its context has 8,192 tokens" in why(task, machine, SMALL, long)
    fast = task.model_copy(update={"goal": task.goal.model_copy(update={"latency_ms": 1e-3})})
    assert "ms an answer; the limit is" in why(fast, machine, SMALL)
    cheap = leaves.model_copy(update={"goal": task.goal.model_copy(update={"usd_per_1k": 1e-9})})
    assert "per 1,000 answers; the limit is" in why(cheap, machine, "openai:gpt-4o-mini")


def test_sizes_are_a_third_apart_or_more(folder: Path, machine: Machine) -> None:
    advised = advise(load_task(folder), (), replace(machine, memory_bytes=400 << 30))
    sizes = {one.base.name: one.base.parameters or 0 for one in advised}
    found = choose(advised, lambda name: True)
    assert len(found.bases) == 3 and not found.missing
    first, second, third = (sizes[name] for name in found.bases)
    assert 3 * first <= second and 3 * second <= third == 72_000_000_000
    offline = choose(advised, lambda name: name == SMALL)
    assert offline.bases == (SMALL,) and sizes[offline.missing[0]] == 72_000_000_000


def test_auto_chooses_once_and_says_what_would_be_next(folder: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(auto_bases, "to_be_had", lambda name, say: name == SMALL)
    first = Project(load_task(folder), say=said.append, estimate_for=machine)
    assert first.task.bases == (SMALL,) == (first.task.base,)
    assert any("would be next: " in one for one in said) and any(f"bases: auto takes {SMALL}" in one for one in said)
    said.clear()
    monkeypatch.setattr(auto_bases, "to_be_had", lambda name, say: pytest.fail("asked again"))
    again = Project(load_task(folder), say=said.append, estimate_for=machine)
    assert again.task.bases == (SMALL,) and not said


def test_auto_without_any_base_is_an_error(folder: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto_bases, "to_be_had", lambda name, say: False)
    with pytest.raises(TaskError, match=f"none of the known bases can be had: {SMALL}: cannot be fetched"):
        Project(load_task(folder), say=lambda text: None, estimate_for=machine)


def test_auto_stands_alone(folder: Path) -> None:
    task = load_task(folder)
    assert type(task).model_validate(task.model_dump()).bases == task.bases == ("auto",)
    text = (folder / "rung.yaml").read_text()
    (folder / "rung.yaml").write_text(f"{text}base: fake\n")
    with pytest.raises(TaskError, match="`base` and `bases` cannot be combined"):
        load_task(folder)
    (folder / "rung.yaml").write_text(text.replace("bases: auto", "bases: [auto, fake]"))
    with pytest.raises(TaskError, match="auto stands alone"):
        load_task(folder)


def test_the_command(folder: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rung.lm.this_machine.load_or_measure", lambda **how: machine)
    found = json.loads(CliRunner().invoke(app, ["models", "--for", str(folder), "--json"]).stdout)
    assert found["needs"]["language"] == "en" and found["bases"][0]["base"]["licence"] == "Apache-2.0"
    shown = CliRunner().invoke(app, ["models", "--for", str(folder)]).stdout
    assert SMALL in shown and "openai:gpt-4o-mini: needs.data_may_leave" in shown
