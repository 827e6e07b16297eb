"""Exports of rungs that call tools: the tools and the form of calls lie beside the files, and the card's code uses them."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from exporting import exported

sys.path.insert(0, str(Path(__file__).parents[1] / "serve"))
from serving import HERMES, TOOLS, task_of_tools

Base = Callable[[str], Path]
CALLS = [{"name": "set_timer", "arguments": {"minutes": 3}}, {"name": "get_weather", "arguments": {"city": "Oslo"}}]


@pytest.fixture
def hermes(tmp_path: Path, home: Path, base: Base) -> Path:
    model = shutil.copytree(base("llama"), tmp_path / "hermes")
    (model / "chat_template.jinja").write_text(HERMES)
    return task_of_tools(tmp_path / "agent", model, rungs="[zero-shot]")


def code(card: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", card, re.DOTALL)


def test_the_cards_code_gives_the_tools_and_reads_the_calls(
    hermes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    shown = exported(hermes, "zero-shot", "--to", "hf", "--out", out, "--rows", "2")
    assert json.loads((out / "proof.json").read_text())["passed"] and "calls of the tools in" in " ".join(shown.split())
    asked = json.loads((out / "prompt.json").read_text())
    assert asked["tools"] == TOOLS and asked["tool_calls"]["before"] == "<tool_call>\n" and "json_schema" not in asked
    ask, read = code((out / "README.md").read_text(encoding="utf-8"))
    monkeypatch.chdir(out)
    names: dict[str, Any] = {}
    exec(compile(ask, "README.md", "exec"), names)
    assert "get_weather" in names["tokenizer"].decode(names["ids"]["input_ids"][0])
    assert not any(stop in names["text"] for stop in asked["stop"]) and "skip_special_tokens=False" in ask
    one, two = map(json.dumps, CALLS)
    listed = {**asked["tool_calls"], "before": "<|tool_call|>[", "between": ", ", "after": "]"}
    lines = {**listed, "before": "", "between": "\n", "after": ""}
    for form, both in (
        (asked["tool_calls"], f"<tool_call>\n{one}\n</tool_call><tool_call>\n{two}\n</tool_call>"),
        (listed, f"<|tool_call|>[{one}, {two}]"),
        (lines, f"{one}\n{two}"),
    ):
        names["asked"] = {**asked, "tool_calls": form}
        for text, calls in ((both, CALLS), (form["before"] + one + form["after"], CALLS[:1]), ("[]", [])):
            names["text"] = text
            exec(compile(read, "README.md", "exec"), names)
            assert names["calls"] == calls
        for text in ("", "none of them", f"{both} done"):
            names["text"] = text
            with pytest.raises(ValueError, match=r"Expecting|Extra"):
                exec(compile(read, "README.md", "exec"), names)


def test_what_cannot_hold_tools_refuses_them(hermes: Path, tmp_path: Path, home: Path, base: Base) -> None:
    pytest.importorskip("gguf")
    assert "shown its tools by the chat template" in exported(hermes, "zero-shot", "--to", "ollama", "--rows", "1", code=2)
    assert "the tool 'set_timer' has no description" in exported(hermes, "zero-shot", "--to", "gguf", "--rows", "1", code=2)
    assert "calls tools" in exported(hermes, "zero-shot", "--to", "zip", "--rows", "1", code=2)
    plain = task_of_tools(tmp_path / "plain", base("llama"), rungs="[zero-shot]")
    exported(plain, "zero-shot", "--to", "vllm", "--out", tmp_path / "out", "--rows", "1")
    asked = json.loads((tmp_path / "out" / "prompt.json").read_text())
    assert "tools" not in asked and "get_weather" in asked["messages"][0]["content"] and asked["json_schema"]
    assert "JSON list of calls" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_gguf_file_shows_the_tools_by_its_template(hermes: Path, tmp_path: Path) -> None:
    text = json.dumps([{**one, "function": {"description": "A timer.", **one["function"]}} for one in TOOLS])
    (hermes / "tools.json").write_text(text)
    exported(hermes, "zero-shot", "--to", "gguf", "--out", tmp_path / "out", "--rows", "2")
    assert "Send `tools` of that file too" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
