"""Of more held-out rows than a climb needs, a part is used; the others serve no purpose at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rung.claims.prospects import prospect
from rung.cli import plan_json
from rung.cli.common import more_rows
from rung.climbing.inputs import read_inputs
from rung.climbing.project import Project
from rung.data.enough import ABOVE, RUNGS, enough
from rung.data.split import Splits
from rung.task import load_task


def rows(n: int, start: int = 0, group: int = 0) -> list[dict[str, str]]:
    return [
        {"input": f"question {i}", "output": "ab"[i % 2], **({"group": f"g{i // group}"} if group else {})}
        for i in range(start, start + n)
    ]


def splits(folder: Path, given: dict[str, list[dict[str, str]]], most: Any = None, goal: Any = 0.8, **data: str) -> Splits:
    folder.mkdir(exist_ok=True)
    for name, found in given.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    files = {name: f"{name}.jsonl" for name in given}
    split = {"split": {"most": most}} if most else {}
    (folder / "rung.yaml").write_text(
        json.dumps(
            {
                "task": "t",
                "kind": "classify",
                "data": {**files, **data, **split},
                "goal": goal if isinstance(goal, dict) else {"at_least": goal},
                "base": "fake",
            }
        )
    )
    return read_inputs(load_task(folder)).splits


@pytest.mark.parametrize("goal", [0.3, 0.6, 0.8, 0.9, 0.97])
def test_as_many_are_enough_as_prove_a_rung_a_little_above_the_goal(goal: float) -> None:
    found = prospect(enough(goal), goal, RUNGS).true_score
    assert found is not None and found == pytest.approx(min(goal + ABOVE, 1), abs=0.004)


@pytest.mark.parametrize("goal", np.linspace(0, 1, 11))
def test_some_are_needed_for_every_goal(goal: float) -> None:
    assert 200 <= enough(goal) <= 8000


def test_few_rows_are_all_used(tmp_path: Path) -> None:
    found = splits(tmp_path, {"train": rows(40), "dev": rows(900, 1000), "test": rows(900, 5000)})
    assert (len(found.dev), len(found.test), found.unused, found.findings) == (900, 900, (), ())


def test_many_are_drawn_whatever_their_order_and_said(tmp_path: Path) -> None:
    given = {"train": rows(40), "dev": rows(4000, 10_000), "test": rows(4000, 20_000)}
    found = splits(tmp_path / "a", given)
    half = enough(0.8) // 2
    assert (len(found.dev), len(found.test)) == (half, half) and len(found.unused) == 8000 - 2 * half
    [said] = found.findings
    assert said.code == "unused-rows" and f"{half} of 4000 dev rows" in said.what and said.count == len(found.unused)
    project = Project(load_task(tmp_path / "a"))
    assert more_rows(project, tmp_path).startswith(f"{len(found.unused):,} labelled dev and test rows are not used yet")
    planned = plan_json.held_out(project)
    assert (planned["unused_rows"], planned["unused_why"]) == (len(found.unused), said.what)
    turned = splits(tmp_path / "b", {name: list(reversed(some)) for name, some in given.items()})
    assert {row.id for row in turned.dev} == {row.id for row in found.dev}
    assert {row.id for row in turned.test.open()} == {row.id for row in found.test.open()}
    whole = splits(tmp_path / "c", given, most="all")
    assert (len(whole.dev), len(whole.test), whole.unused) == (4000, 4000, ())


def test_a_small_test_leaves_more_to_dev(tmp_path: Path) -> None:
    found = splits(tmp_path, {"train": rows(40), "dev": rows(900, 1000), "test": rows(60, 5000)}, most=300)
    assert (len(found.dev), len(found.test)) == (240, 60)
    assert "data.split.most" in found.findings[0].what


def test_groups_stay_whole(tmp_path: Path) -> None:
    found = splits(
        tmp_path, {"train": rows(40, 0, 4), "dev": rows(400, 1000, 4), "test": rows(400, 5000, 4)}, most=100, group="group"
    )
    used, left = ({row.group for row in some} for some in ((*found.dev, *found.test.open()), found.unused))
    assert len(used) == 100 and not used & left and len(found.dev) == 200


def test_a_metric_that_is_no_mean_over_rows_uses_them_all(tmp_path: Path) -> None:
    given = {"train": rows(40), "dev": rows(4000, 10_000), "test": rows(4000, 20_000)}
    found = splits(tmp_path, given, goal={"metric": "macro_f1", "at_least": 0.8})
    assert (len(found.dev), len(found.test)) == (4000, 4000)


def test_a_coverage_needs_more(tmp_path: Path) -> None:
    given = {"train": rows(40), "dev": rows(6000, 10_000), "test": rows(6000, 20_000)}
    found = splits(tmp_path, given, goal={"at_least": 0.9, "coverage": 0.6})
    assert len(found.dev) + len(found.test) == pytest.approx(enough(0.6), abs=1) and enough(0.6) > enough(0.9) / 0.6
