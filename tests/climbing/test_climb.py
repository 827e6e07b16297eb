"""Climbing without a model: what is asked, what is kept, what a crash, a budget and a kill leave behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from elsewhere import unseen
from watcher import Watcher

from rung import methods
from rung.climbing.climb import Climb, changed, climb, standing
from rung.climbing.executors.job import measure
from rung.climbing.project import Project
from rung.errors import BudgetError, BusyError
from rung.evaluate import predict
from rung.evaluate.predict import answer
from rung.lm.engines import Engines
from rung.lm.inference.fake import FakeEngine
from rung.methods.base import Method, Run
from rung.methods.estimate import CostEstimate
from rung.methods.facts import Facts
from rung.predictor import Predictor
from rung.task import load_task
from rung.types import Need, TrainData

LABELS = ("refund", "delay", "other")


@pytest.fixture
def trick(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Run], None]], None]:
    """Put a rung `trick` into the table, whose fit calls the function given."""

    def put(act: Callable[[Run], None]) -> None:
        monkeypatch.setitem(methods.METHODS, "trick", _named(act))

    return put


def _named(act: Callable[[Run], None]) -> Any:
    @dataclass(frozen=True, kw_only=True)
    class Acting(Method):
        name: ClassVar[str] = "trick"
        needs: ClassVar[frozenset[Need]] = frozenset({Need.EXAMPLES})
        fit_version: ClassVar[int] = 1

        def estimate(self, start: CostEstimate, facts: Facts, machine: Any) -> CostEstimate:
            return replace(start, row_seconds=start.row_seconds * 2)

        def fit(self, start: Predictor, data: TrainData, run: Run) -> Predictor:
            act(run)
            return replace(start, instruction=f"{start.instruction} {len(data.examples)} examples")

    return Acting()


def row(i: int, hint: bool = True) -> dict[str, str]:
    label = LABELS[i % 3]
    return {"input": f"{label if hint else 'hm'} number {i}", "output": label}


def write_rows(path: Path, rows: Sequence[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))


@pytest.fixture
def folder(tmp_path: Path, home: Path) -> Path:
    """A task whose labels stand in the inputs: the fake model gets them right, the majority a third of them."""
    place = tmp_path / "task"
    place.mkdir()
    write_rows(place / "train.jsonl", [row(i) for i in range(30)])
    write_rows(place / "dev.jsonl", [row(i) for i in range(1000, 1100)])
    write_rows(place / "test.jsonl", [row(i) for i in range(2000, 2060)])
    set_task(place)
    return place


def set_task(place: Path, *, rungs: Sequence[str] = ("majority", "zero-shot"), goal: float = 0.8, **more: Any) -> None:
    task = {
        "task": "What is it about?",
        "kind": "classify",
        "labels": list(LABELS),
        "data": {"train": "train.jsonl", "dev": "dev.jsonl", "test": "test.jsonl"},
        "base": "fake",
        "encoder": "fake",
        "goal": {"at_least": goal},
        "rungs": list(rungs),
        **more,
    }
    (place / "rung.yaml").write_text(json.dumps(task))  # JSON is YAML


def go(place: Path, **how: Any) -> Climb:
    return climb(Project(load_task(place)), Watcher(), **how)


def statuses(found: Climb) -> dict[str, str]:
    return {record.rung: record.status for record in found.records}


def test_a_climb_stops_at_the_first_rung_that_meets_the_goal(folder: Path) -> None:
    set_task(folder, rungs=["majority", "zero-shot", "few-shot"])
    found = go(folder)
    assert statuses(found) == {"majority": "done", "few-shot": "done"}
    assert (found.decision.verdict, found.decision.chosen) == ("meets", "few-shot")
    assert found.records[0].scores and found.records[0].scores.overall.value < 0.5


def test_everything_is_measured_where_that_is_asked_for(folder: Path) -> None:
    set_task(folder, rungs=["majority", "zero-shot", "few-shot"])
    found = go(folder, everything=True)
    assert statuses(found) == {"majority": "done", "zero-shot": "done", "few-shot": "done"}
    assert found.decision.chosen == "few-shot", "the cheapest of those that meet the goal: zero-shot opens more labels"


def test_a_second_climb_asks_nothing(folder: Path, asked: list[str]) -> None:
    first = go(folder, everything=True)
    asked.clear()
    again = go(folder, everything=True)
    assert asked == []
    assert again == first


def test_a_changed_dev_row_is_the_only_one_asked(folder: Path, asked: list[str]) -> None:
    go(folder)
    asked.clear()
    rows = [row(i) for i in range(1000, 1100)]
    rows[17]["input"] = "refund and nothing else"
    write_rows(folder / "dev.jsonl", rows)
    found = go(folder)
    assert asked == ["refund and nothing else"]
    assert found.records[-1].scores and found.records[-1].scores.overall.n == 100


def test_a_new_train_row_is_learnt_from_and_asks_the_untouched_model_nothing(folder: Path, asked: list[str]) -> None:
    before = {record.rung: record.predictor for record in go(folder, everything=True).records}
    asked.clear()
    write_rows(folder / "train.jsonl", [row(i) for i in range(31)])
    after = {record.rung: record.predictor for record in go(folder, everything=True).records}
    assert after["majority"] != before["majority"]
    assert after["zero-shot"] == before["zero-shot"]
    assert asked == []


def test_a_changed_option_refits_its_own_rung_alone(folder: Path, trick: Callable) -> None:
    fits: list[int] = []
    trick(lambda run: fits.append(1))
    set_task(folder, rungs=["trick", "majority", "few-shot"], goal=0.999)
    go(folder)
    set_task(folder, rungs=["trick", "majority", "few-shot"], goal=0.999, methods={"few-shot": {"shots": 3}})
    go(folder)
    assert len(fits) == 1
    assert len(list((folder / ".rung" / "fits").iterdir())) == 4


def test_what_two_rungs_begin_with_is_fitted_once(folder: Path, trick: Callable) -> None:
    fits: list[int] = []
    trick(lambda run: fits.append(1))
    set_task(folder, rungs=["trick", "trick+few-shot"], goal=0.999)
    assert set(statuses(go(folder, everything=True)).values()) == {"done"}
    assert len(fits) == 1


def test_another_seed_is_another_fit(folder: Path, trick: Callable) -> None:
    fits: list[int] = []
    trick(lambda run: fits.append(run.seed))
    for seed in (0, 1, 0):
        set_task(folder, rungs=["trick"], seed=seed)
        go(folder)
    assert fits == [0, 1]


def test_a_rung_that_crashes_is_recorded_and_the_climb_goes_on(folder: Path, trick: Callable) -> None:
    def crash(run: Run) -> None:
        raise ZeroDivisionError("nothing to divide by")

    trick(crash)
    set_task(folder, rungs=["majority", "trick", "zero-shot"], goal=0.999)
    found = go(folder)
    assert statuses(found) == {"majority": "done", "trick": "failed", "zero-shot": "done"}
    failed = next(record for record in found.records if record.status == "failed")
    assert failed.reason == "ZeroDivisionError: nothing to divide by"
    assert "nothing to divide by" in failed.provenance.traceback
    assert failed in Project(load_task(folder)).store.records()

    trick(lambda run: None)
    assert statuses(go(folder))["trick"] == "done", "a failure is no answer to keep"


def test_an_interrupt_is_no_failed_rung_and_frees_the_folder(folder: Path, trick: Callable) -> None:
    def interrupt(run: Run) -> None:
        raise KeyboardInterrupt

    trick(interrupt)
    set_task(folder, rungs=["majority", "trick"], goal=0.999)
    with pytest.raises(KeyboardInterrupt):
        go(folder)
    trick(lambda run: None)
    assert statuses(go(folder)) == {"majority": "done", "trick": "done"}


def test_without_any_budget_everything_is_skipped_with_its_reason(folder: Path, asked: list[str]) -> None:
    set_task(folder, budget={"minutes": 1e-9})
    found = go(folder)
    assert set(statuses(found).values()) == {"skipped"}
    assert all("budget" in record.reason for record in found.records)
    assert found.opened.test is None
    assert asked == []


def test_a_fit_that_runs_out_of_time_keeps_its_work_and_goes_on(folder: Path, trick: Callable) -> None:
    def slow(run: Run) -> None:
        (run.folder / "work").mkdir(exist_ok=True)
        (run.folder / "work" / "half").write_text("done")
        (run.folder / "litter").write_text("left over")
        raise BudgetError("training was stopped at step 3 of 9: the time budget is used up.")

    trick(slow)
    set_task(folder, rungs=["majority", "trick"], goal=0.999)
    found = go(folder)
    assert statuses(found) == {"majority": "done", "trick": "skipped"}
    assert "step 3 of 9" in found.records[-1].reason

    seen: list[tuple[bool, bool]] = []
    trick(lambda run: seen.append(((run.folder / "work" / "half").exists(), (run.folder / "litter").exists())))
    assert statuses(go(folder))["trick"] == "done"
    assert seen == [(True, False)], "the checkpoints stay, the rest is cleared away"
    assert not any((folder / ".rung" / "work").iterdir())


def test_answering_that_runs_out_of_time_keeps_what_it_has(
    folder: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Project(load_task(folder))
    rows, quiet = project.inputs.splits.dev, lambda text, share: None
    clock = [0.0]
    monkeypatch.setattr(predict, "time", SimpleNamespace(monotonic=lambda: clock[0]))

    def late(text: str, share: float) -> None:
        clock[0] = 2.0

    with pytest.raises(BudgetError, match="row 64 of 100"):
        answer(project.start, rows, project.store, project.engines, late, 1.0)
    assert len(asked) == 64
    found = answer(project.start, rows, project.store, project.engines, quiet, float("inf"))
    assert len(asked) == 100
    assert [p.id for p in found] == [e.id for e in rows]


def test_the_test_rows_are_looked_at_once(folder: Path, asked: list[str]) -> None:
    first = go(folder)
    assert first.opened.seals_broken == 1
    assert first.opened.test and first.opened.test.overall.n == 60
    assert first.opened.test.split == "test"
    asked.clear()
    again = go(folder)
    assert (again.opened.seals_broken, again.opened.test) == (1, first.opened.test)
    assert asked == []


def test_the_seal_holds_while_no_rung_meets_the_goal(folder: Path, asked: list[str]) -> None:
    set_task(folder, rungs=["majority"])
    found = go(folder)
    assert (found.opened.test, found.opened.seals_broken) == (None, 0)
    tested = {row(i)["input"] for i in range(2000, 2060)}
    assert not tested & set(asked)


def test_a_second_predictor_shown_the_test_rows_breaks_the_seal_again(folder: Path) -> None:
    set_task(folder, rungs=["few-shot"])
    assert go(folder).opened.seals_broken == 1
    write_rows(folder / "train.jsonl", [row(i) for i in range(40)])
    assert go(folder).opened.seals_broken == 2


def test_what_befalls_the_test_loses_nothing_of_the_climb(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = FakeEngine.choose

    def full(self: FakeEngine, prompts: Sequence[Any], *rest: Any) -> Any:
        if any("number 20" in prompt.messages[-1].content for prompt in prompts):  # the test rows
            raise OSError(28, "No space left on device")
        return whole(self, prompts, *rest)

    monkeypatch.setattr(FakeEngine, "choose", full)
    found = go(folder)
    assert (found.decision.verdict, found.opened.test, found.opened.seals_broken) == ("undecided", None, 0)
    assert "No space left" in found.opened.untested
    kept = json.loads((folder / ".rung" / "decision.json").read_text())
    assert kept["untested"] == found.opened.untested and kept["decision"]["chosen"] == found.decision.chosen
    monkeypatch.undo()
    assert (after := go(folder)).opened.test and not after.opened.untested


def test_a_workers_fit_that_this_machine_does_not_see_is_not_made_again_unasked(folder: Path, trick: Callable) -> None:
    fits: list[Path] = []
    trick(lambda run: fits.append(run.folder))

    set_task(folder, rungs=["trick"])
    found = go(folder, on=lambda setting: unseen(setting, "fits"))
    assert "trick was fitted on there, and this machine does not see its fit" in found.opened.untested
    assert str(folder / ".rung" / "fits") in found.opened.untested and f"rung fit {folder} trick" in found.opened.untested
    assert go(folder).opened.untested == found.opened.untested and len(fits) == 1 and not found.opened.test
    project = Project(load_task(folder))
    again = measure(project, project.plan.named("trick"), float("inf"), lambda *_: None)
    assert again == found.records[0] and len(fits) == 2, "fitted, not measured"
    assert go(folder).opened.test


def test_sealed_rows_without_an_answer_are_no_number(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = FakeEngine.choose

    def some_fail(self: FakeEngine, prompts: Sequence[Any], *rest: Any) -> Any:
        return [
            replace(one, error="the server answered 500") if "number 2001" in prompt.messages[-1].content else one
            for one, prompt in zip(whole(self, prompts, *rest), prompts)
        ]

    monkeypatch.setattr(FakeEngine, "choose", some_fail)
    found = go(folder)
    assert found.opened.test is None and "1 of 60 sealed rows" in found.opened.untested
    monkeypatch.undo()
    assert (after := go(folder)).opened.test and after.opened.seals_broken == 1


def test_a_changed_metric_of_the_team_scores_anew(folder: Path, asked: list[str]) -> None:
    set_task(folder, goal=0.5)
    content = json.loads((folder / "rung.yaml").read_text())
    (folder / "rung.yaml").write_text(json.dumps({**content, "goal": {"metric": "own.py:score", "at_least": 0.5}}))
    (folder / "own.py").write_text("def score(output, reference, row):\n    return output == reference\n")
    first = go(folder)
    asked.clear()
    (folder / "own.py").write_text("def score(output, reference, row):\n    return output != reference\n")
    second = go(folder)
    before, after = (next(r.scores for r in found.records if r.rung == "majority") for found in (first, second))
    assert before and after and before.overall.value == pytest.approx(1 - after.overall.value)
    assert asked == []


def test_a_climb_on_new_rows_is_up_to_date_again(folder: Path) -> None:
    go(folder)
    write_rows(folder / "test.jsonl", [row(i) for i in range(2000, 2070)])
    project = Project(load_task(folder))
    assert changed(project, project.store.read("decision.json")) == "the data have changed"
    go(folder)
    assert changed(project, project.store.read("decision.json")) == ""
    (folder / "train.jsonl").write_text("{")
    broken = Project(load_task(folder))
    assert "cannot be read" in changed(broken, broken.store.read("decision.json"))


def test_a_climb_stopped_in_the_test_says_that_it_was(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = FakeEngine.choose

    def stopped(self: FakeEngine, prompts: Sequence[Any], *rest: Any) -> Any:
        if any("number 20" in prompt.messages[-1].content for prompt in prompts):
            raise KeyboardInterrupt
        return whole(self, prompts, *rest)

    monkeypatch.setattr(FakeEngine, "choose", stopped)
    with pytest.raises(KeyboardInterrupt):
        go(folder)
    assert "proof of zero-shot was interrupted" in json.loads((folder / ".rung" / "decision.json").read_text())["untested"]


def test_a_row_that_is_refused_for_good_does_not_hold_up_the_test(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = FakeEngine.choose

    def one_fails(self: FakeEngine, prompts: Sequence[Any], *rest: Any) -> Any:
        return [
            replace(one, error="refused: content filter", final=True) if "number 2001" in p.messages[-1].content else one
            for one, p in zip(whole(self, prompts, *rest), prompts)
        ]

    monkeypatch.setattr(FakeEngine, "choose", one_fails)
    found = go(folder)
    assert found.opened.test and found.opened.test.overall.value == pytest.approx(59 / 60)


def test_what_is_on_record_is_shown_before_a_climb_has_ended(folder: Path) -> None:
    found = go(folder)
    (folder / ".rung" / "decision.json").unlink()
    now = standing(Project(load_task(folder)))
    assert now and now.decision == found.decision and now.records == found.records


def test_new_test_rows_are_a_new_seal(folder: Path) -> None:
    go(folder)
    write_rows(folder / "test.jsonl", [row(i) for i in range(3000, 3060)])
    assert go(folder).opened.seals_broken == 1


def test_two_climbs_at_once_are_told_so(folder: Path) -> None:
    with Project(load_task(folder)).store.locked(), pytest.raises(BusyError, match="another rung process"):
        go(folder)


def test_what_cannot_be_tried_says_what_is_missing(folder: Path) -> None:
    set_task(folder, rungs=["majority", "encoder"], goal=0.999)
    task = json.loads((folder / "rung.yaml").read_text())
    task.pop("labels")
    task["kind"] = "answer"
    (folder / "rung.yaml").write_text(json.dumps(task))
    told = Watcher()
    climb(Project(load_task(folder)), told)
    skipped = told.records[-1]
    assert (skipped.rung, skipped.status) == ("encoder", "skipped")
    assert skipped.reason == "needs labels, which this task does not have"


KILLED = """
import os, signal, sys
from pathlib import Path
from rung.api.progress import Silent
from rung.climbing.climb import climb
from rung.climbing.project import Project
from rung.lm.inference.fake import FakeEngine
from rung.task import load_task

place, die_at = Path(sys.argv[1]), int(sys.argv[2])
plain, seen = FakeEngine.choose, []

def choose(self, prompts, labels, progress=None):
    seen.extend(prompts)
    if len(seen) > die_at:
        os.kill(os.getpid(), signal.SIGKILL)
    return plain(self, prompts, labels, progress)

FakeEngine.choose = choose

class Shown(Silent):
    def ended(self, record): print(record.rung, flush=True)

climb(Project(load_task(place)), Shown(), everything=True)
print(len(seen))
"""


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
def test_a_killed_process_loses_one_chunk_at_most(folder: Path, asked: list[str]) -> None:
    set_task(folder, rungs=["majority", "zero-shot", "few-shot"])
    run = [sys.executable, "-c", textwrap.dedent(KILLED), str(folder)]
    killed = subprocess.run([*run, "64"], capture_output=True, text=True, timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert killed.stdout.split() == ["majority"]

    lines = next((folder / ".rung" / "predictions").glob("*.jsonl"))
    found = go(folder, everything=True)
    assert set(statuses(found).values()) == {"done"}
    dev = [row(i)["input"] for i in range(1000, 1100)]
    zero_shot = asked[: asked.index(dev[0])] if dev[0] in asked else asked
    assert [text for text in zero_shot if text in dev][:36] == dev[64:], "the first 64 answers were kept"
    assert lines.exists()

    asked.clear()
    assert go(folder, everything=True) == found
    assert asked == []


def test_a_fit_that_is_killed_again_and_again_is_given_up(folder: Path) -> None:
    program = """
import os, signal, sys
from pathlib import Path
from rung.api.progress import Silent
from rung.climbing.climb import climb
from rung.methods.base import Family
from rung.methods.baseline import Baseline
from rung.climbing.project import Project
from rung.task import load_task

Baseline.fit = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
Baseline.family = Family.ADAPTERS  # as one that trains

for record in climb(Project(load_task(Path(sys.argv[1]))), Silent()).records:
    print(record.status, record.reason)
"""
    set_task(folder, rungs=["majority"])
    ended = [
        subprocess.run([sys.executable, "-c", program, str(folder)], capture_output=True, text=True, timeout=120, check=False)
        for _ in range(4)
    ]
    assert [one.returncode for one in ended] == [-signal.SIGKILL] * 3 + [0]
    assert "failed" in ended[-1].stdout and "for lack of memory" in ended[-1].stdout
    (mark,) = (folder / ".rung" / "work").glob("*.json")
    mark.unlink()
    assert statuses(go(folder)) == {"majority": "done"}


def test_a_half_written_answer_is_asked_again(folder: Path, asked: list[str]) -> None:
    set_task(folder, rungs=["zero-shot"])
    first = go(folder)
    path = folder / ".rung" / "predictions" / f"{first.records[0].predictor}.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    kept = sum(len(line) for line in lines[:50])
    path.write_bytes(path.read_bytes()[: kept + 20])
    (folder / ".rung" / "records.jsonl").unlink()
    asked.clear()
    again = go(folder)
    assert asked[:50] == [row(i)["input"] for i in range(1050, 1100)]
    assert again.records[0].scores == first.records[0].scores


def test_moving_the_task_keeps_all_its_answers(folder: Path, asked: list[str], tmp_path: Path) -> None:
    go(folder)
    asked.clear()
    moved = folder.rename(tmp_path / "moved")
    go(moved)
    assert asked == []


def test_one_engine_serves_a_whole_climb(folder: Path, machine: Any) -> None:
    engines = Engines(machine)
    project = Project(load_task(folder), engines)
    climb(project, Watcher())
    fake = engines.open(engines.reference("fake"))
    assert isinstance(fake, FakeEngine)
    assert fake.asked >= 160
