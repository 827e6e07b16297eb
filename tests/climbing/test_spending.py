"""The error that climbs spend on the same held-out rows: what goes on with it, what spends more, and what begins afresh."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from watcher import Watcher

from rung.climbing.climb import Climb, climb
from rung.climbing.ledger import Spending, spending
from rung.climbing.project import Project
from rung.task import load_task
from rung.types import Record

LABELS = ("refund", "delay", "other")


def write_rows(path: Path, numbers: range) -> None:
    rows = ({"input": f"{LABELS[i % 3]} number {i}", "output": LABELS[i % 3]} for i in numbers)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def set_task(place: Path, rungs: Sequence[str] = ("majority", "nearest"), goal: float = 0.8, **more: Any) -> None:
    data = {"train": "train.jsonl", "dev": "dev.jsonl", "test": "test.jsonl"}
    given = {"task": "What is it about?", "kind": "classify", "labels": LABELS, "data": data, "base": "fake", "encoder": "fake"}
    (place / "rung.yaml").write_text(json.dumps({**given, "goal": {"at_least": goal}, "rungs": list(rungs), **more}))


@pytest.fixture
def folder(tmp_path: Path, home: Path) -> Path:
    place = tmp_path / "task"
    place.mkdir()
    write_rows(place / "train.jsonl", range(30))
    write_rows(place / "dev.jsonl", range(1000, 1060))
    write_rows(place / "test.jsonl", range(2000, 2060))
    set_task(place)
    return place


def go(place: Path) -> Climb:
    return climb(Project(load_task(place)), Watcher())


def left(place: Path) -> Spending:
    return spending(Project(load_task(place)))


def test_a_climb_spends_four_fifths_and_is_resumed_with_the_same(folder: Path) -> None:
    before = left(folder)
    assert (before.error, before.before, before.known) == (pytest.approx(0.04), 0.0, False)
    go(folder)
    after = left(folder)
    assert (after.error, after.before, after.known, after.rungs) == (pytest.approx(0.04), 0.0, True, 2)
    assert after.later == pytest.approx(0.008)
    limited = {"at_least": 0.8, "latency_ms": 500}
    (folder / "rung.yaml").write_text(json.dumps(json.loads((folder / "rung.yaml").read_text()) | {"goal": limited}))
    assert left(folder).known, "a limit outside the claim"
    set_task(folder, rungs=["majority"], budget={"minutes": 3})
    fewer = left(folder)
    assert fewer.known and fewer.rungs == 2, "the rung that is not named any more has had its chance"


@pytest.mark.parametrize("what", ["another rung", "another goal", "a new train row", "a new test row", "a dev row less"])
def test_anything_else_is_a_second_try_with_what_is_left(folder: Path, what: str) -> None:
    go(folder)
    if what == "another rung":
        set_task(folder, rungs=["majority", "nearest", "zero-shot"])
    elif what == "another goal":
        set_task(folder, goal=0.7)
    elif what == "a new train row":
        write_rows(folder / "train.jsonl", range(31))
    elif what == "a new test row":
        write_rows(folder / "test.jsonl", range(2000, 2061))
    else:
        write_rows(folder / "dev.jsonl", range(1001, 1060))
    second = left(folder)
    assert (second.error, second.before, second.known) == (pytest.approx(0.008), pytest.approx(0.04), False)
    go(folder)
    assert left(folder).known and left(folder).later == pytest.approx(0.0016)
    set_task(folder)  # back to the first task file: on the first rows it goes on as it was
    assert left(folder).before in (0.0, pytest.approx(0.04))


def test_only_rows_that_were_never_used_begin_afresh(folder: Path) -> None:
    go(folder)
    write_rows(folder / "dev.jsonl", range(3000, 3060))
    assert left(folder).before == pytest.approx(0.04)
    write_rows(folder / "test.jsonl", range(4000, 4060))
    assert (left(folder).error, left(folder).before) == (pytest.approx(0.04), 0.0)


def test_the_claim_of_a_climb_joins_dev_and_sealed_rows(folder: Path) -> None:
    set_task(folder, rungs=["majority", "zero-shot"])
    found = go(folder)
    claim = found.decision.claim
    assert found.decision.verdict == "meets" and claim
    assert (claim.dev, claim.sealed, claim.confidence) == (60, 60, 0.95) and 0.8 <= claim.at_least < 1
    assert found.opened.test and claim.alone == found.opened.test.overall
    assert "from 60 dev rows that chose it and 60 sealed rows; on the sealed rows alone 1.000 [" in found.decision.why
    stored = json.loads((folder / ".rung" / "decision.json").read_text())
    assert stored["spending"]["error"] == pytest.approx(0.04)


def test_a_climb_that_measured_nothing_spends_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rung.climbing import measuring

    def broken(*_: Any) -> None:
        raise OSError("no")

    monkeypatch.setattr(measuring, "_measured", broken)
    assert go(folder).decision.verdict == "undecided"
    assert not (folder / ".rung" / "claims.json").exists()


def test_rungs_that_a_budget_left_out_leave_the_goal_undecided(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rung.climbing import measuring
    from rung.errors import BudgetError

    whole = measuring._measured

    def late(project: Project, step: Any, *rest: Any) -> Record:
        if step.rung == "zero-shot":
            raise BudgetError("stopped at step 277 of 352: the time is up.")
        return whole(project, step, *rest)

    monkeypatch.setattr(measuring, "_measured", late)
    set_task(folder, rungs=["majority", "zero-shot"])
    found = go(folder)
    assert (found.decision.verdict, found.decision.left) == ("undecided", ("zero-shot",))
    assert "Not measured yet, so nothing is decided: zero-shot (stopped at step 277 of 352" in found.decision.why
    monkeypatch.undo()
    monkeypatch.setenv("RUNG_HOME", str(folder.parent / "home"))
    assert go(folder).decision.verdict == "meets"
