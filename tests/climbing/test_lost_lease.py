"""A driver that lost the lease of the decision, or waits for a lease after its deadline."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from watcher import Watcher

from rung.climbing import cascading, climb, test_set
from rung.climbing.project import Project
from rung.errors import BudgetError
from rung.store import LeasedError, Store, leases
from rung.task import load_task

YAML = """
task: Say where it is.
kind: classify
data: {examples: rows.jsonl}
base: fake
rungs: [majority, nearest]
goal: {metric: accuracy, at_least: 0.1}
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "rung.yaml").write_text(YAML)
    rows = [{"input": f"row {i}: it is {'abc'[i % 3]}", "output": "abc"[i % 3]} for i in range(240)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Project(load_task(tmp_path), say=lambda text: None)


def losing(project: Project, plain: Callable[..., Any], name: str, seen: list[bool]) -> Callable[..., Any]:
    """`plain`, in whose first call another driver has the lease of the decision for a moment. Notes whether `name` is stored."""

    def call(*given: Any) -> Any:
        seen.append(bool(project.store.read(name)))
        if len(seen) == 1:
            other = leases.Owner("other", "another machine", 1, 0.0, time.time() - 1)
            project.store.rows.write("leases/decision.json", json.dumps(asdict(other)))
        return plain(*given)

    return call


def test_who_lost_the_lease_stores_no_decision_and_decides_again(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    monkeypatch.setattr(climb, "content", losing(project, climb.content, "decision.json", seen))
    found = climb.climb(project, Watcher())
    assert seen[:2] == [False, False], "the first one was not stored"
    assert project.store.read("decision.json")["decision"]["chosen"] == found.decision.chosen


def test_who_lost_the_lease_stores_no_look_and_proves_again(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    monkeypatch.setattr(test_set, "answer", losing(project, test_set.answer, "test.json", seen))
    found = climb.climb(project, Watcher())
    assert seen[:2] == [False, False], "the first look was not stored"
    assert found.opened.seals_broken == 1 and found.opened.test and not found.opened.untested


def test_a_cheaper_rung_is_proved_by_one_driver_at_a_time(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    found = climb.climb(project, Watcher(), everything=True)
    proved: list[str] = []

    def prove(project: Project, record: Any) -> str:
        with pytest.raises(LeasedError), Store(project.task.folder).lease(test_set.DECISION, None):
            pass
        proved.append(record.rung)
        return ""

    rungs = [SimpleNamespace(rung="majority", chance=1.0)]
    monkeypatch.setattr(climb, "decide", lambda *_: SimpleNamespace(rungs=rungs, chosen="nearest"))
    monkeypatch.setattr(climb, "price", lambda record: record.rung == "nearest")
    monkeypatch.setattr(climb.test_set, "prove", prove)
    monkeypatch.setattr(climb.test_set, "proofs", lambda *_: {})
    go = climb._Going(project, Watcher(), ())
    go.records = list(found.records)
    go.prove_cheaper("majority")
    assert proved == ["majority"]


def test_a_cascade_that_another_fits_is_waited_for_only_until_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit_step = cascading.fit_step
    monkeypatch.setattr(cascading, "fit_step", lambda *_: None)
    monkeypatch.setattr(cascading, "step_keys", lambda *_: ["k"])
    project: Any = SimpleNamespace(store=Store(tmp_path))
    step: Any = SimpleNamespace(parts=("first", "second"))
    with Store(tmp_path).lease("fits/k"), pytest.raises(BudgetError):
        fit_step(project, step, time.monotonic(), lambda *_: None)
