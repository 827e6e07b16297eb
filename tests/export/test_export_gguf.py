"""Exports to GGUF and Ollama, asked through llama.cpp; where that is absent, read back by rung."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import exporting
import pytest
import torch

from rung.lm import llama_cpp
from rung.lm.export import gguf_shapes

Base = Callable[[str], Path]
Made = Callable[[Path], Path]
NEEDED = pytest.mark.skipif(not llama_cpp.installed(), reason="needs xllamacpp")


@pytest.fixture(autouse=True)
def _offline(home: Path) -> None:
    """Models come from folders; this machine counts as measured."""


def exported(*words: str | Path, code: int = 0) -> str:
    return exporting.exported(*words, "--rows", "4", code=code)


@NEEDED
@pytest.mark.parametrize(
    ("kind", "rung"),
    [
        ("llama", "lora"),
        *(pytest.param(kind, "zero-shot", marks=pytest.mark.slow) for kind in ("llama-bos", "qwen2", "qwen3")),
        ("gemma3-pieces", "lora"),
    ],
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
@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_an_adapter_alone_on_its_base(kind: str, base: Base, made: Made, tmp_path: Path) -> None:
    out = tmp_path / "out"
    exported(made(base(kind)), "lora", "--to", "gguf", "--adapter", "--out", out)
    proof = json.loads((out / "proof.json").read_text())
    assert proof["passed"] and "llama.cpp" in proof["engine"] and proof["answers"] == 4 and proof["largest_margin"] <= 1e-3
    assert [path.name for path in out.glob("*.gguf")] == ["adapter.gguf"]
    assert "--lora adapter.gguf" in (out / "README.md").read_text()


@NEEDED
@pytest.mark.parametrize("wrong", ["order", "scale"])
def test_an_adapter_put_on_wrongly_is_found(
    wrong: str, base: Base, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rung.lm.export import gguf_lora

    if wrong == "scale":
        monkeypatch.setattr(gguf_lora, "_alpha", lambda found: 0.0)
    else:
        monkeypatch.setattr(gguf_lora.gguf_shapes, "ordered", _in_given_order_where_it_is_a_factor)
    shown = exported(made(base("llama")), "lora", "--to", "gguf", "--adapter", "--out", tmp_path / "out", code=1)
    assert "does not answer as the original" in shown


def _in_given_order_where_it_is_a_factor(name: str, value: torch.Tensor, config: Any, kind: str) -> torch.Tensor:
    return value if value.shape[-1] == 4 else ORDERED(name, value, config, kind)


ORDERED = gguf_shapes.ordered


@NEEDED
def test_a_modelfile_names_the_adapter(base: Base, made: Made, tmp_path: Path) -> None:
    out = tmp_path / "out"
    exported(made(base("llama")), "lora", "--to", "ollama", "--adapter", "--kind", "f32", "--out", out)
    assert (out / "Modelfile").read_text().startswith("FROM ./model-f32.gguf\nADAPTER ./adapter.gguf\n")
    assert json.loads((out / "proof.json").read_text())["passed"]


@pytest.mark.parametrize("change", [{"use_dora": True}, {"bias": "all"}, {"peft_type": "IA3"}])
def test_adapters_that_gguf_does_not_hold_are_named(change: dict, tmp_path: Path) -> None:
    from rung.errors import ModelError
    from rung.lm.export import gguf_lora

    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "bias": "none"} | change))
    with pytest.raises(ModelError, match="no form in GGUF"):
        gguf_lora.write(tmp_path, None, tmp_path / "adapter.gguf", "lora")


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
