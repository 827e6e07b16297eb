"""A base that cannot be asked: its chat template is broken. Rungs that need no base go on; room that a prompt leaves is used."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from watcher import Watcher

from rung.climbing.climb import climb
from rung.climbing.preflight import inspect
from rung.climbing.project import Project
from rung.lm.base import Decoding, ModelRef
from rung.lm.engines import Engines
from rung.lm.inference.causal import CausalEngine
from rung.lm.models.load import load
from rung.machine import Machine
from rung.predictor import Predictor
from rung.task import load_task
from rung.types import Example

LABELS = ("refund", "delay", "other")


@pytest.mark.parametrize("template", ["{% for m in messages %}", "{{ raise_exception('this template takes no chats') }}"])
def test_a_broken_template_skips_the_rungs_that_ask_it(
    template: str, base: Callable[[str], Path], tmp_path: Path, home: Path, machine: Machine
) -> None:
    model = shutil.copytree(base("llama-plain"), tmp_path / "model")
    (model / "chat_template.jinja").write_text(template)
    for name, begin in (("train", 0), ("dev", 100), ("test", 200)):
        rows = [{"input": f"{LABELS[i % 3]} {i}", "output": LABELS[i % 3]} for i in range(begin, begin + 30)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {
        "task": "Sort.",
        "kind": "classify",
        "labels": list(LABELS),
        "data": {name: f"{name}.jsonl" for name in ("train", "dev", "test")},
        "base": "model",
        "rungs": ["majority", "zero-shot", "lora"],
        "goal": {"metric": "accuracy", "at_least": 0.9},
    }
    (tmp_path / "rung.yaml").write_text(json.dumps(task))
    project = Project(load_task(tmp_path), Engines(machine, say=lambda text: None))
    findings, shown = inspect(project)
    assert shown == []
    assert any(one.code == "chat-template" and one.severity == "warn" for one in findings)
    records = {record.rung: record for record in climb(project, Watcher(), everything=True).records}
    assert {name: record.status for name, record in records.items()} == {
        "majority": "done",
        "zero-shot": "skipped",
        "lora": "skipped",
    }
    assert "its chat template rejects the messages" in records["zero-shot"].reason


# Room


@pytest.fixture
def short(base: Callable[[str], Path]) -> ModelRef:
    """A context of 48 tokens."""
    return ModelRef("causal", str(base("gpt2-short")), "")


@pytest.mark.parametrize("most", [3, 1024])
def test_an_answer_has_the_room_that_its_own_prompt_leaves(most: int, short: ModelRef, machine: Machine) -> None:
    engines = Engines(machine, say=lambda text: None)
    start = Predictor(kind="generate", model=short, instruction="", decoding=Decoding(max_new_tokens=most))
    rows = [Example("late " * n, "") for n in range(1, 40)]
    engine, found = engines.open(short), start.predict(rows, engines)
    sizes = [engine.count(prompt) for prompt in start.prompts(rows, engines)]
    assert min(sizes) < 30 and max(sizes) > 48
    for size, one in zip(sizes, found):
        assert bool(one.error) == (size >= 48)
        assert one.tokens_out <= min(most, max(0, 48 - size))
    # alone a row is answered as among the others
    alone = [start.predict([row], engines)[0] for row in rows[::6]]
    assert [(one.output, one.tokens_out) for one in alone] == [(one.output, one.tokens_out) for one in found[::6]]
    pieces = "".join(start.stream(rows[0], engines))
    assert pieces == found[0].output


def test_a_model_without_trees_has_the_same_room(base: Callable[[str], Path], machine: Machine) -> None:
    loaded = load(base("gpt2-short"), machine)
    start = Predictor(kind="generate", model=ModelRef("causal", "x", "x"), instruction="")
    prompts = start.prompts([Example("late " * n, "") for n in (1, 3)], Engines(machine))
    grown = CausalEngine(loaded).generate(prompts, Decoding(max_new_tokens=100))
    loaded.model.set_attn_implementation("sdpa")
    plain = CausalEngine(replace(loaded, trees=False)).generate(prompts, Decoding(max_new_tokens=100))
    assert all(one.tokens_out + one.tokens_in <= 48 for one in grown)
    assert [one.tokens_out for one in plain] == [one.tokens_out for one in grown]


def test_labels_need_the_room_of_the_longest_and_no_more(short: ModelRef, machine: Machine) -> None:
    engines = Engines(machine, say=lambda text: None)
    labels = ("refund please", "delay")  # thirteen bytes, and fewer tokens
    start = Predictor(kind="classify", model=short, instruction="", labels=labels, show_labels=False)
    rows = [Example("late " * n, "") for n in range(1, 40)]
    engine, chat = engines.open(short), engines.chat(short)
    assert chat
    needed = max(len(chat.answer(label)) for label in labels)
    sizes = [engine.count(prompt) for prompt in start.prompts(rows, engines)]
    assert [bool(one.error) for one in start.predict(rows, engines)] == [size + needed > 48 for size in sizes]
