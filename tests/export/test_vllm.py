"""Exports for vLLM: the folder, its launch line, what vLLM would not load; asked through a stand-in for its server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import exporting
import pytest

from rung.errors import ModelError, RungError
from rung.export.targets import vllm
from rung.lm.export import vllm_process, vllm_server

Base = Callable[[str], Path]
Made = Callable[[Path], Path]


@pytest.fixture(autouse=True)
def _offline(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models come from folders; this machine counts as measured; no vLLM is named."""
    monkeypatch.delenv(vllm_process.PYTHON, raising=False)


def exported(*words: str | Path, code: int = 0) -> str:
    return exporting.exported(*words, "--to", "vllm", "--rows", "4", code=code)


def launched(folder: Path, tmp_path: Path) -> list[str]:
    """The command line that the script starts, noted by a stand-in for Python."""
    (tmp_path / "bin").mkdir()
    stand_in = tmp_path / "bin" / "python"
    stand_in.write_text('#!/bin/sh\npwd\nprintf "%s\\n" "$@"\n')
    stand_in.chmod(0o755)
    where = os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run([folder / "serve.sh", "--port", "8001"], capture_output=True, text=True, env=where, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    place, *words = done.stdout.splitlines()
    assert Path(place) == folder.resolve(), "paths are relative to the folder"
    return words


def test_merged_weights_and_the_line_that_serves_them(base: Base, made: Made, tmp_path: Path) -> None:
    out = tmp_path / "out"
    exported(made(base("llama")), "lora", "--out", out)
    words = launched(out, tmp_path)
    assert words[:2] == ["-m", "vllm.entrypoints.openai.api_server"] and words[-2:] == ["--port", "8001"]
    assert words[2:-2] == ["--model", ".", "--served-model-name", "lora", "--dtype", "float32"]
    assert "vLLM was not asked" in json.loads((out / "proof.json").read_text())["engine"]
    assert "unproven" in (out / "README.md").read_text()


def test_a_base_with_its_adapter_as_a_module(base: Base, made: Made, tmp_path: Path) -> None:
    out = tmp_path / "out"
    exported(made(base("llama")), "lora", "--adapter", "--out", out)
    words = launched(out, tmp_path)
    assert words[words.index("--lora-modules") + 1] == "lora=adapter" and words[words.index("--model") + 1] == "base"
    assert words[words.index("--max-lora-rank") + 1] == "8", "the smallest rank that vLLM knows of at least 4"
    assert (out / "base" / "config.json").exists() and (out / "adapter" / "adapter_model.safetensors").exists()
    assert json.loads((out / "proof.json").read_text())["passed"]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [("use_dora", True, "use_dora"), ("peft_type", "IA3", "not LoRA"), ("bias", "all", "biases"), ("r", 1024, "rank is over")],
)
def test_adapters_that_vllm_does_not_take_are_named(key: str, value: object, said: str, tmp_path: Path) -> None:
    plain = {"peft_type": "LORA", "r": 8, "bias": "none"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(plain))
    vllm.check_adapter(tmp_path)
    (tmp_path / "adapter_config.json").write_text(json.dumps({**plain, key: value}))
    with pytest.raises(RungError, match=said):
        vllm.check_adapter(tmp_path)


def test_a_server_that_does_not_start_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(vllm_process.PYTHON, sys.executable)
    monkeypatch.setattr(vllm_process, "MODULE", "no_such_module")
    with pytest.raises(ModelError, match=r"vLLM ended at its start.*no_such_module"):
        vllm_server.Vllm(["--model", str(tmp_path)], "lora")
