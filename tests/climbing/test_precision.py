"""bfloat16 for frozen weights, from the task to the record: what it changes, and what it leaves as it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rung import methods
from rung.climbing import measuring
from rung.climbing import project as projects
from rung.climbing.fit import fit_context, fit_keys
from rung.climbing.measuring import rung_key
from rung.climbing.project import Project
from rung.machine import Machine
from rung.task import load_task

LABELS = ("refund", "delay")


@pytest.fixture
def made(
    base: Callable[[str], Path], tmp_path: Path, home: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Project]:
    """The project of a small task on a tiny base, on a machine with units for bfloat16 or without."""
    for name, count in (("train", 16), ("dev", 6), ("test", 6)):
        rows = [{"input": f"{name} {LABELS[i % 2]} {i}", "output": LABELS[i % 2]} for i in range(count)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def project(units: bool, **more: Any) -> Project:
        task = {
            "task": "Sort.",
            "kind": "classify",
            "data": {name: f"{name}.jsonl" for name in ("train", "dev", "test")},
            "base": str(base("llama")),
            "rungs": ["zero-shot", "lora"],
            "methods": {"lora": {"epochs": 1, "rank": 2}},
            "goal": {"metric": "accuracy", "at_least": 0.9},
            **more,
        }
        (tmp_path / "rung.yaml").write_text(json.dumps(task))
        here = replace(machine, bf16_speedup=1.5 if units else 1.0)
        monkeypatch.setattr(projects, "load_or_measure", lambda **_: here)
        return Project(load_task(tmp_path), say=lambda text: None)

    return project


def keys(project: Project) -> dict[str, str]:
    return {step.rung: rung_key(project, step) for step in project.plan.steps}


def test_keys_differ_only_where_weights_are_rounded(made: Callable[..., Project]) -> None:
    plain, auto, exact = keys(made(False)), keys(made(True)), keys(made(True, precision="float32"))
    assert exact == plain == keys(made(False, precision="bfloat16")), "keys of float32 are those of machines without units"
    assert auto["zero-shot"] == plain["zero-shot"] and auto["lora"] != plain["lora"]
    asked = keys(made(True, precision="bfloat16"))
    assert asked["zero-shot"] != plain["zero-shot"] and asked["lora"] not in (auto["lora"], plain["lora"])
    project = made(True)
    full, dora = (methods.rung(name, {}) for name in ("full", "dora"))
    context = fit_context(project)
    assert [fit_keys(context, one) for one in (full, dora)] == [fit_keys(fit_context(made(False)), one) for one in (full, dora)]


def test_the_record_says_what_trained_and_what_answered(made: Callable[..., Project], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring.forgetting, "measure_forgetting", lambda *_: None)
    exact, asked = {"precision": "float32"}, {"precision": "bfloat16"}
    found = []
    for rung, more in (("zero-shot", {}), ("zero-shot", asked), ("lora", {}), ("lora", exact)):
        project = made(True, **more)
        step = project.plan.named(rung)
        record, _ = measuring.measured(project, step, rung_key(project, step), float("inf"), lambda *_: None)
        assert record.status == "done", record.reason
        found.append(record.provenance.precision)
    assert found == [
        {"answered": "float32"},
        {"answered": "bfloat16"},
        {"answered": "bfloat16", "trained": "bfloat16"},
        {"answered": "float32", "trained": "float32"},
    ]
    start = made(True, precision="bfloat16").start
    assert start.model.precision == "bfloat16" and made(False, precision="bfloat16").start.model.precision == ""
    assert start.digest != replace(start, model=replace(start.model, precision="")).digest
    assert made(True).task.digest != made(True, precision="float32").task.digest
