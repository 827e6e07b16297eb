"""Exports to GGUF and Ollama, asked through llama.cpp; where that is absent, read back by rung."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from commands import command

from rung.lm.export import gguf_shapes, llama_cpp

Base = Callable[[str], Path]
Made = Callable[[Path], Path]
NEEDED = pytest.mark.skipif(not llama_cpp.installed(), reason="needs xllamacpp")


@pytest.fixture(autouse=True)
def _offline(home: Path) -> None:
    """Models come from folders; this machine counts as measured."""


def exported(*words: str | Path, code: int = 0) -> str:
    done = command("export", *words, "--rows", "4")
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@NEEDED
@pytest.mark.parametrize(
    ("kind", "rung"), [("llama", "lora"), ("llama-bos", "zero-shot"), ("qwen2", "zero-shot"), ("qwen3", "zero-shot")]
)
def test_float32_answers_as_the_rung_does_in_llama_cpp(kind: str, rung: str, base: Base, made: Made, tmp_path: Path) -> None:
    out = tmp_path / "out"
    exported(made(base(kind)), rung, "--to", "gguf", "--kind", "f32", "--out", out)
    proof = json.loads((out / "proof.json").read_text())
    assert proof["passed"] and "llama.cpp" in proof["engine"] and proof["cut"] == proof["rendered"] == proof["rows"] == 4
    assert proof["largest_margin"] <= 1e-3 and proof["answers"] == 4 and (out / "model-f32.gguf").exists()


@NEEDED
def test_queries_and_keys_in_the_wrong_order_are_found(
    base: Base, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf_shapes, "permuted", lambda value, heads: value)
    shown = exported(made(base("llama")), "lora", "--to", "gguf", "--kind", "f32", "--out", tmp_path / "out", code=1)
    assert "does not answer as the original" in shown and not (tmp_path / "out").exists()


@NEEDED
def test_a_wrong_tokenizer_is_found(base: Base, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gguf import GGUFWriter

    merges = GGUFWriter.add_token_merges
    monkeypatch.setattr(GGUFWriter, "add_token_merges", lambda self, found: merges(self, found[:2]))
    shown = exported(made(base("llama")), "lora", "--to", "gguf", "--out", tmp_path / "out", code=1)
    assert "the tokenizer cuts 4 of 4 prompts into other tokens" in shown


@NEEDED
def test_a_modelfile_stands_beside_the_file_for_ollama(base: Base, made: Made, tmp_path: Path) -> None:
    out = tmp_path / "out"
    exported(made(base("llama")), "lora", "--to", "ollama", "--kind", "f32", "--out", out)
    text = (out / "Modelfile").read_text()
    assert text.startswith("FROM ./model-f32.gguf\n") and 'PARAMETER stop "<|im_end|>"' in text
    assert 'SYSTEM "Name the intent."' in text and "PARAMETER temperature 0\n" in text
    assert (
        'TEMPLATE """{{- range .Messages }}{{ if eq .Role "system" }}<|im_start|>system\n{{ .Content }}<|im_end|>\n{{ else if'
        in text
    )
    assert text.count("<|im_start|>assistant\n") == 2  # a turn, and where the answer begins


def test_without_llama_cpp_the_file_is_read_back_and_that_is_said(
    base: Base, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llama_cpp, "installed", lambda: False)
    out = tmp_path / "out"
    exported(made(base("llama")), "lora", "--to", "gguf", "--kind", "f32", "--out", out)
    assert "llama.cpp was not asked" in (out / "README.md").read_text()


def test_shapes_and_tokenizers_that_are_not_written_are_named(base: Base, made: Made, tmp_path: Path) -> None:
    task = made(base("gpt2"))
    assert "'gpt2' is not written as GGUF" in exported(task, "zero-shot", "--to", "gguf", "--out", tmp_path / "out", code=2)
    assert not (tmp_path / "out").exists()


def test_pairs_of_channels_stand_side_by_side() -> None:
    rows = torch.arange(8.0)[:, None]  # two heads of four channels: halves 0 1 | 2 3 and 4 5 | 6 7
    assert gguf_shapes.permuted(rows, 2)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
