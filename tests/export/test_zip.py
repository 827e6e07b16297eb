"""A zip answers as the rung does, from an empty folder, in a process without rung."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import exporting
import pytest
from commands import command

from rung.climbing.project import Project
from rung.errors import RungError
from rung.export.source import source
from rung.export.targets import zip as target
from rung.lm.base import Decoding
from rung.lm.inference.thinking import Thinking
from rung.task import load_task

Base = Callable[[str], Path]
Made = Callable[[Path], Path]


@pytest.fixture(autouse=True)
def _offline(home: Path) -> None:
    """Models come from folders; this machine counts as measured."""


def exported(*words: str | Path, code: int = 0) -> str:
    return exporting.exported(*words, "--to", "zip", "--rows", "4", code=code)


def ran(zipped: Path, place: Path, *texts: str) -> list[dict]:
    """What the program in a zip prints, started in an empty folder; it must not import rung."""
    place.mkdir()
    with zipfile.ZipFile(zipped) as packed:
        packed.extractall(place)
    watch = "import sys, runpy; runpy.run_path('answer.py', run_name='__main__'); assert 'rung' not in sys.modules"
    done = subprocess.run([sys.executable, "-I", "-c", watch, *texts], cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow  # starts Python with torch, or writes ONNX
def test_a_language_model_with_labels(base: Base, made: Made, tmp_path: Path) -> None:
    task, out = made(base("llama-bos")), tmp_path / "out"
    exported(task, "lora", "--out", out)
    proof = json.loads((out / "proof.json").read_text())
    assert proof["passed"] and proof["rows"] == 4 and proof["others"] == []
    text = 'my parcel is late, it\'s 10% "wet"'
    asked = json.loads(command("ask", task, text, "--rung", "lora", "--json").stdout)
    [found] = ran(out / "lora.zip", tmp_path / "there", text)
    assert found["answer"] == asked["output"] and 0 < found["confidence"] <= 1
    assert "torch==" in (tmp_path / "there" / "requirements.txt").read_text()
    assert sorted(path.name for path in out.iterdir()) == ["README.md", "lora.zip", "proof.json"]


@pytest.mark.slow
def test_a_language_model_that_writes(base: Base, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text,reply\n" + "".join(f"where is parcel {i},on its way {i}\n" for i in range(24)))
    (tmp_path / "rung.yaml").write_text(
        "task: Answer.\nkind: generate\ndata: {examples: rows.csv, input: text, output: reply}\n"
        f"base: {base('llama')}\nrungs: [zero-shot]\ngoal: {{metric: exact_match, at_least: 0.5}}\n"
    )
    exported(tmp_path, "zero-shot", "--out", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "proof.json").read_text())["passed"]


@pytest.mark.slow  # starts Python with torch, or writes ONNX
def test_an_encoder_needs_no_torch(made_encoder: Callable[[str], Path], tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    exported(made_encoder("encoder"), "encoder", "--out", tmp_path / "out")
    with zipfile.ZipFile(tmp_path / "out" / "encoder.zip") as packed:
        assert "torch" not in packed.read("requirements.txt").decode() + packed.read("answer.py").decode()
    assert json.loads((tmp_path / "out" / "proof.json").read_text())["passed"]


@pytest.mark.slow  # starts Python with torch, or writes ONNX
def test_another_answer_fails(base: Base, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target, "CHOICE", target.CHOICE.replace("argmax()", "argmin()"))
    assert "4 of 4 answers differ" in exported(made(base("llama-bos")), "lora", "--out", tmp_path / "out", code=1)
    assert not (tmp_path / "out").exists() and (tmp_path / "out.failed" / "lora.zip").exists()


def test_rungs_that_do_more_are_named(base: Base, made: Made) -> None:
    found = source(Project(load_task(made(base("llama-bos"))), say=print), "lora", 2)
    for change, said in (
        ({"decoding": Decoding(temperature=0.7)}, "samples its answers"),
        ({"thinking": Thinking("Think.", "why")}, "reasons before it answers"),
    ):
        with pytest.raises(RungError, match=said):
            target.check(replace(found, predictor=replace(found.predictor, **change)))
