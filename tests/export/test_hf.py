"""Exports to a folder of transformers: proven, described, and refused where they would mislead."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from commands import command
from exporting import exported
from slowly import slow_but

Base = Callable[[str], Path]
Made = Callable[[Path], Path]


@pytest.fixture(autouse=True)
def _offline(home: Path) -> None:
    """Models come from folders; this machine counts as measured."""


@pytest.mark.parametrize("kind", slow_but(["llama-bos"], ["llama", "llama-plain", "llama-bos"]))
def test_merged_weights_answer_as_the_rung_does(kind: str, base: Base, made: Made, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shown = exported(made(base(kind)), "lora", "--out", out, "--rows", "6")
    proof = json.loads((out / "proof.json").read_text())
    assert proof["passed"] and proof["answers"] == proof["rows"] == proof["cut"] == proof["rendered"] == 6
    assert proof["places"] > 6 and proof["largest_margin"] <= 1e-3 and proof["tensors_changed_by_merging"] > 0
    assert "same greedy answer" in shown and str(out) in shown.replace("\n", "")
    ends = json.loads((out / "generation_config.json").read_text())["eos_token_id"]
    assert len(ends) == (1 if kind == "llama-plain" else 2)


def test_the_card_says_what_was_measured_and_its_code_runs(
    base: Base, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    exported(made(base("llama")), "lora", "--out", out, "--rows", "4")
    card = (out / "README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(card.split("---")[1])
    assert front["library_name"] == "transformers" and "lora" in front["tags"] and "license" not in front
    assert "| accuracy (dev) | " in card and "forgetting" in card and "digest of the dev rows" in card and "**Passed.**" in card
    assert str(base("llama").parent) not in card, "paths of this machine stay here"
    code = re.search(r"```python\n(.*?)```", card, re.DOTALL)
    assert code
    monkeypatch.chdir(out)
    exec(compile(code[1], "README.md", "exec"), {})
    assert capsys.readouterr().out.strip()


def test_the_prompt_is_given_with_the_files(base: Base, made: Made, tmp_path: Path) -> None:
    exported(made(base("llama")), "lora", "--out", tmp_path / "out", "--rows", "2")
    asked = json.loads((tmp_path / "out" / "prompt.json").read_text())
    assert [turn["role"] for turn in asked["messages"]] == ["system", "user"]
    assert asked["messages"][-1]["content"] == "{input}" and asked["labels"] == ["delivery", "refund"]
    assert any("labels" in one for one in asked["not_in_these_files"])


def test_no_path_of_this_machine_is_in_the_files(base: Base, made: Made, tmp_path: Path) -> None:
    task = made(base("llama"))
    for words in ((), ("--adapter",)):
        exported(task, "lora", "--out", tmp_path / "out", "--rows", "2", *words)
        for path in (tmp_path / "out").glob("*.*"):
            content = path.read_bytes()
            assert str(base("llama")).encode() not in content and str(task).encode() not in content, path.name


def test_an_adapter_alone(base: Base, made: Made, tmp_path: Path) -> None:
    out = tmp_path / "out"
    exported(made(base("llama")), "lora", "--adapter", "--out", out, "--rows", "4")
    assert (out / "adapter_model.safetensors").exists() and not (out / "model.safetensors").exists()
    assert json.loads((out / "adapter_config.json").read_text())["base_model_name_or_path"] == "llama"
    assert json.loads((out / "proof.json").read_text())["passed"]


def test_a_rung_without_training_is_its_base_and_says_so(base: Base, made: Made, tmp_path: Path) -> None:
    out = tmp_path / "out"
    exported(made(base("llama")), "zero-shot", "--out", out, "--rows", "2")
    assert json.loads((out / "proof.json").read_text())["passed"]
    assert "the weights are those of the base" in (out / "README.md").read_text()


def test_demonstrations_go_into_the_prompt(base: Base, made: Made, tmp_path: Path) -> None:
    task, out = made(base("llama")), tmp_path / "out"
    assert command("fit", task, "few-shot").returncode == 0
    shown = exported(task, "few-shot", "--out", out, "--rows", "2")
    turns = json.loads((out / "prompt.json").read_text())["messages"]
    shots = [turn["content"] for turn in turns if turn["role"] == "assistant"]
    assert shots and set(shots) <= {"delivery", "refund"} and turns[-1]["content"] == "{input}"
    assert f"send the {len(shots)} demonstrations" in " ".join(shown.split())


def test_what_cannot_be_exported_is_named(base: Base, made: Made) -> None:
    task = made(base("llama"))
    command("fit", task, "majority")
    assert "which no other program loads" in exported(task, "majority", code=2)
    assert "not fitted" in exported(task, "nearest", code=2)
    assert "Known: hf" in exported(task, "lora", "--to", "tflite", code=2)
    assert "f32, bf16, f16" in exported(task, "lora", "--kind", "q8_0", code=2)
    assert "no adapter" in exported(task, "zero-shot", "--adapter", code=2)


def test_a_folder_that_is_no_export_is_left_alone(base: Base, made: Made, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert "holds something that is no export" in exported(made(base("llama")), "lora", "--out", tmp_path, code=2)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_merge_that_changes_nothing_is_an_error(
    base: Base, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rung.lm.models.adapters.restore", lambda model, folder: model)
    assert "changes no weight" in exported(made(base("llama")), "lora", "--out", tmp_path / "out", code=2)
    assert not list(tmp_path.glob("out*"))


def test_an_export_that_answers_otherwise_fails(base: Base, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files are whole, and one of their tensors is wrong."""
    from rung.lm.export import hf_folder

    task, write, out = made(base("llama")), hf_folder.write, tmp_path / "out"

    def wrong(made: object, folder: Path, *rest: object) -> None:
        import torch

        with torch.no_grad():
            made.model.model.norm.weight[:16] *= -1  # type: ignore[attr-defined]
        write(made, folder, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr("rung.lm.export.hf_folder.write", wrong)
    shown = exported(task, "lora", "--out", out, "--rows", "4", code=1)
    assert "does not answer as the original" in shown and "instead of" in shown
    assert not out.exists() and (tmp_path / "out.failed" / "proof.json").exists()
    assert "**Failed:**" in (tmp_path / "out.failed" / "README.md").read_text()
    exported(task, "lora", "--out", out, "--rows", "4", code=1)  # a failed one is replaced


def test_a_full_disk_is_seen_before(base: Base, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("rung.export.run.shutil.disk_usage", lambda place: usage(10, 10, 1000))
    assert "disk is too full" in exported(made(base("llama")), "lora", "--out", tmp_path / "out", code=2)
    assert not (tmp_path / "out").exists()
