"""bfloat16 for frozen weights, from the task to the record: what it changes, and what it leaves as it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from watcher import Watcher

from rung import methods
from rung.climbing import measuring, precision
from rung.climbing import project as projects
from rung.climbing.climb import chosen, climb, edited
from rung.climbing.executors import order
from rung.climbing.fit import fit, fit_context, fit_keys
from rung.climbing.measuring import rung_key
from rung.climbing.project import Project
from rung.errors import RungError
from rung.lm.engines import Engines
from rung.machine import Machine
from rung.serve.answering import models
from rung.task import load_task
from rung.types import Provenance, Record

LABELS = ("refund", "delay")


@pytest.fixture
def made(
    base: Callable[[str], Path], tmp_path: Path, home: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Project]:
    """The project of a small task on a tiny base, on a machine with hardware support for bfloat16 or without. `anew`:
    without the precision that an earlier project stored."""
    for name, count in (("train", 16), ("dev", 6), ("test", 6)):
        rows = [{"input": f"{name} {LABELS[i % 2]} {i}", "output": LABELS[i % 2]} for i in range(count)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def project(hardware: bool, anew: bool = True, **more: Any) -> Project:
        if anew:
            (tmp_path / ".rung" / precision.NAME).unlink(missing_ok=True)
        task = {
            "task": "Sort.",
            "kind": "classify",
            "data": {name: f"{name}.jsonl" for name in ("train", "dev", "test")},
            "base": str(base("llama")),
            "rungs": ["zero-shot", "lora", "full"],
            "methods": {"lora": {"epochs": 1, "rank": 2}, "full": {"epochs": 1}},
            "goal": {"metric": "accuracy", "at_least": 0.9},
            **more,
        }
        (tmp_path / "rung.yaml").write_text(json.dumps(task))
        here = replace(machine, bf16_speedup=1.5 if hardware else 1.0)
        monkeypatch.setattr(projects, "load_or_measure", lambda **_: here)
        return Project(load_task(tmp_path), say=lambda text: None)

    return project


def fitted(project: Project, rung: str) -> None:
    fit(fit_context(project), methods.rung(rung, project.task.methods), float("inf"), lambda *_: None)


def keys(project: Project) -> dict[str, str]:
    return {step.rung: rung_key(project, step) for step in project.plan.steps}


def test_keys_differ_only_where_weights_are_rounded(made: Callable[..., Project]) -> None:
    plain, auto, exact = keys(made(False)), keys(made(True)), keys(made(True, precision="float32"))
    assert exact == plain == keys(made(False, precision="bfloat16")), "keys of float32 are those of machines without the hardware"
    assert auto["zero-shot"] == plain["zero-shot"] and auto["lora"] != plain["lora"]
    asked = keys(made(True, precision="bfloat16"))
    assert asked["zero-shot"] != plain["zero-shot"] and asked["lora"] not in (auto["lora"], plain["lora"])
    project = made(True)
    full, dora = (methods.rung(name, {}) for name in ("full", "dora"))
    context = fit_context(project)
    assert [fit_keys(context, one) for one in (full, dora)] == [fit_keys(fit_context(made(False)), one) for one in (full, dora)]


def test_a_store_has_one_precision_on_all_machines(made: Callable[..., Project], tmp_path: Path) -> None:
    auto: dict[str, Any] = {"rungs": ["lora"]}
    first = made(True, **auto)
    found, kept = keys(first), tmp_path / ".rung" / precision.NAME
    assert not kept.exists(), "a plan writes nothing"
    fitted(first, "lora")
    other = made(False, anew=False, **auto)
    assert keys(other) == found and other.frozen_bf16 and not other.machine.frozen_bf16, "it finds the fits and cannot make them"
    exact = made(False, anew=False, precision="float32")
    assert keys(exact)["lora"] != found["lora"], "float32 is what the task asks for, whatever is stored"
    text = kept.read_text()
    kept.write_text(text.replace("bfloat16", "float32"))
    assert keys(made(True, anew=False, **auto)) == found, "an edited choice counts as none"
    other = made(False, anew=False, **auto)
    other.keep_precision([methods.rung("lora", {})])
    assert not other.frozen_bf16 and kept.read_text() != text, "and it is left for rung trust"
    kept.write_text(text)
    slower = made(False, anew=False, **auto)
    measured = replace(slower.machine, gflops={"float32": 50.0, "bfloat16": 40.0})
    assert measured.freezing(slower.frozen_bf16).frozen_bf16, "a slower measurement of hardware that can"


def test_fits_without_a_stored_precision_stay_valid(made: Callable[..., Project]) -> None:
    """Those of an earlier version of rung, which froze weights in float32."""
    fitted(before := made(False), "lora")
    recorded(before, "lora")
    now = made(True)
    assert keys(now) == keys(before) and made(True, precision="bfloat16").frozen_bf16
    stored = {"task": before.task.model_dump(mode="json") | {"precision": "float32"}}
    assert not edited(made(True), stored), "the default was float32"
    [key] = fit_keys(fit_context(now), methods.rung("lora", now.task.methods))
    assert now.store.fitted(key)


def recorded(project: Project, rung: str) -> None:
    project.store.keep_record(Record(rung, "done", provenance=Provenance(key=rung, fits=("f",))))


def test_only_fits_that_freeze_keep_a_store_as_it_was(made: Callable[..., Project]) -> None:
    for rung in ("majority", "few-shot+full", "a-plugin-that-is-gone", "nearest>full@base"):
        recorded(made(False), rung)
    assert made(True).frozen_bf16
    fitted(made(False), "full")
    assert made(True, anew=False).frozen_bf16, "nothing was frozen, so nothing was chosen"
    recorded(made(False), "nearest>few-shot+lora@base")
    assert not made(True).frozen_bf16


def test_two_drivers_that_chose_apart_do_not_both_go_on(made: Callable[..., Project]) -> None:
    first = made(True)
    assert first.frozen_bf16
    second = made(False, rungs=["majority", "lora"])
    assert not second.frozen_bf16
    fitted(first, "lora")
    for go in (lambda: fitted(second, "lora"), lambda: climb(second, Watcher())):
        with pytest.raises(RungError, match="has just stored bfloat16"):
            go()
    assert not second.store.records(), "nothing failed, for nothing was tried"


def test_a_climb_says_what_precision_it_keeps(made: Callable[..., Project]) -> None:
    def told(hardware: bool, **more: Any) -> str:
        said: list[str] = []
        project = replace(made(hardware, **more), say=said.append)
        project.keep_precision([step.methods for step in project.plan.steps])
        return " ".join(said)

    assert "are bfloat16" in told(True)
    assert not told(False) and not told(True, rungs=["majority", "zero-shot"]), "nothing is frozen"
    assert "but frozen weights are float32" in told(False, precision="bfloat16")


def test_a_named_fit_is_found_and_answers_without_the_hardware(made: Callable[..., Project]) -> None:
    fitted(made(True, rungs=["lora"]), "lora")
    found = chosen(other := made(False, anew=False, rungs=["lora"]), "lora")
    assert found.model.precision == "bfloat16"
    assert found.predict(other.inputs.splits.dev, other.engines)


def test_a_key_that_rung_lacked_when_it_decided_is_no_edit(made: Callable[..., Project]) -> None:
    project = made(False)
    stored = {"task": project.task.model_dump(mode="json")}
    del stored["task"]["precision"], stored["task"]["data"]["turns"]
    assert not edited(project, stored)
    assert edited(made(False, precision="float32"), stored)
    assert edited(project, {"task": stored["task"] | {"key_of_another_version": 1}})


def test_the_record_says_what_trained_and_what_answered(made: Callable[..., Project], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring.forgetting, "measure_forgetting", lambda *_: None)
    auto, asked, exact = dict[str, str](), {"precision": "bfloat16"}, {"precision": "float32"}
    found = []
    for rung, more in (("zero-shot", auto), ("zero-shot", asked), ("lora", auto), ("lora", exact), ("full", auto)):
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
        {"answered": "float32"},
    ]
    start = made(True, precision="bfloat16").start
    assert start.model.precision == "bfloat16" and made(False, precision="bfloat16").start.model.precision == ""
    assert start.digest != replace(start, model=replace(start.model, precision="")).digest
    assert made(True).task.digest == made(True, precision="auto").task.digest != made(True, **exact).task.digest


def test_a_worker_has_the_key_of_the_store_and_freezes_where_it_can(
    made: Callable[..., Project], machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = made(True, rungs=["lora"])
    sent = order.Order(str(driver.task.folder), order.write_climb(driver), "lora", keys(driver)["lora"], "attempt")
    fast = {"float32": 50.0, "bfloat16": 400.0}
    gpu = replace(machine, device="cuda", gflops=fast, dtype="bfloat16")
    for worker, freezes in ((replace(machine, gflops=fast), True), (machine, False), (gpu, False)):
        monkeypatch.setattr(order, "load_or_measure", lambda worker=worker, **_: worker)
        built = order.rebuilt(sent)
        assert order.ordered(built, sent).rung == "lora", "the driver's key"
        assert built.worker.frozen_bf16 == freezes


def test_a_base_that_two_tasks_serve_answers_alike_in_either_order(
    made: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "_of", lambda project, fresh: [models.Served("base", fresh, project.start.model)])
    tasks = [made(True, precision="bfloat16"), made(True, anew=False, precision="auto")]
    assert [project.start.model.precision for project in tasks] == ["bfloat16", ""]
    for given in (tasks, tasks[::-1]):
        found = models.opened([Path("a"), Path("b")], lambda folder: given[folder == Path("b")])  # noqa: B023
        assert found["base"].model.precision == ""
        assert found["base"].engines.machine.multiplies_bf16, "what each fit was trained beside is there for all tasks"


@pytest.mark.parametrize(("kind", "matrices"), (("llama", 2), ("gpt2", 1)))
def test_embeddings_and_head_are_counted_from_their_shapes(base: Callable[[str], Path], kind: str, matrices: int) -> None:
    engines = Engines(say=lambda text: None)
    assert engines.vocabulary_parameters(engines.reference(str(base(kind)))) == matrices * 300 * 32
