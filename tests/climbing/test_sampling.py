"""Two train rows are asked before a climb is estimated: which, of whom, how often, and what the estimate makes of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rung.climbing import sampling
from rung.climbing.climb import climb
from rung.climbing.project import Project
from rung.errors import ModelError
from rung.lm.inference.fake import FakeEngine
from rung.planning import samples
from rung.task import load_task
from rung.types import Record

FAR = "http://127.0.0.1:9/v1#org/big"
"""Nobody listens there."""


class Watcher:
    """A watcher that remembers the estimates."""

    def planned(self, steps: Any) -> None:
        self.steps = steps

    def began(self, rung: str) -> None: ...

    def progress(self, rung: str, text: str, share: float) -> None: ...

    def ended(self, record: Record) -> None: ...


@pytest.fixture
def wrote(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The input of every prompt that the fake model writes an answer to, in order."""
    inputs: list[str] = []
    plain = FakeEngine.generate

    def generate(self: FakeEngine, prompts: Any, decoding: Any, progress: Any = None) -> Any:
        inputs.extend(prompt.input for prompt in prompts)
        return plain(self, prompts, decoding, progress)

    monkeypatch.setattr(FakeEngine, "generate", generate)
    return inputs


@pytest.fixture
def project(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Project]:
    """`project(rungs, …)` of a task that is answered in free text, however quickly it is answered."""
    monkeypatch.setattr(sampling, "LEAST_SECONDS", 0.0)
    place = tmp_path / "task"
    place.mkdir()
    for part, first, count in (("train", 0, 30), ("dev", 1000, 20), ("test", 2000, 10)):
        rows = [{"input": f"{part} number {i}", "output": str(i)} for i in range(first, first + count)]
        (place / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def made(rungs: list[str], say: Callable[[str], object] = lambda text: None, **more: Any) -> Project:
        task = {
            "task": "Which number?",
            "kind": "answer",
            "data": {part: f"{part}.jsonl" for part in ("train", "dev", "test")},
            **({} if "bases" in more else {"base": "fake"}),
            "encoder": "fake",
            "goal": {"at_least": 0.9},
            "rungs": rungs,
            **more,
        }
        (place / "rung.yaml").write_text(json.dumps(task))  # JSON is YAML
        return Project(load_task(place), say=say)

    return made


def test_a_climb_asks_two_train_rows_of_each_rung_that_writes_and_says_so(project: Any, wrote: list[str]) -> None:
    said: list[str] = []
    climb(project(["zero-shot", "few-shot", "majority"], said.append), Watcher(), everything=True)
    assert all(one.startswith("train") for one in wrote[:4]) and not any(one.startswith("train") for one in wrote[4:])
    assert len([one for one in said if "asked 2 train rows each to estimate few-shot, zero-shot" in one]) == 1


def test_a_second_climb_and_a_plan_read_what_was_asked(project: Any, wrote: list[str]) -> None:
    climb(project(["zero-shot"]), Watcher())
    wrote.clear()
    again = project(["zero-shot"])
    climb(again, Watcher())
    assert not wrote and len(again.samples) == 1
    assert project(["zero-shot"], methods={"few-shot": {"shots": 3}}).plan.alone.raw == again.plan.alone.raw


def test_a_plan_asks_nothing(project: Any, wrote: list[str]) -> None:
    assert project(["zero-shot", "few-shot"]).plan.steps and not wrote


def test_answers_that_end_lower_the_estimate_and_stay_the_estimate_of_the_record(project: Any) -> None:
    before, watcher = project(["zero-shot"]), Watcher()
    result = climb(before, watcher)
    [step] = watcher.steps
    assert step.raw.row_seconds < project(["zero-shot"], task="Another").plan.alone.raw.row_seconds / 2
    assert result.records[0].provenance.raw_quote == step.raw


def test_what_was_seen_of_few_shot_is_not_taken_for_zero_shot(project: Any) -> None:
    climb(project(["few-shot"]), Watcher())
    plan = project(["few-shot", "zero-shot", "lora"])
    fresh = project(["few-shot", "zero-shot", "lora"], task="Another")
    known, unknown = ({step.rung: step.raw.row_seconds for step in one.plan.steps if step.raw} for one in (plan, fresh))
    assert known["few-shot"] < unknown["few-shot"]
    assert known["zero-shot"] == pytest.approx(unknown["zero-shot"], rel=0.01), "other words of the task"


def test_who_charges_and_who_trains_is_not_asked(project: Any) -> None:
    bases = {"bases": ["fake", FAR], "prices": {"org/big": {"input": 2.0, "output": 10.0}}}
    wanted = sampling.wanted(project(["zero-shot", "lora", "few-shot+lora", "rag+few-shot"], **bases))
    assert [one.step.rung for one in wanted] == ["zero-shot"]
    labelled = project(["zero-shot"], kind="classify")
    assert not sampling.wanted(labelled), "labels are chosen, not written"


def test_a_search_of_prompts_is_estimated_by_what_it_starts_from(project: Any) -> None:
    [wish] = sampling.wanted(project(["prompt-search"]))
    assert wish.methods == ()


def test_asking_is_left_out_where_it_takes_long(project: Any) -> None:
    both = project(["zero-shot", "few-shot"])
    first = sampling.wanted(both)[0]
    assert [one.key for one in sampling.wanted(both, most=first.seconds)] == [first.key]
    assert sampling.wanted(both, most=0.0) == []


def test_a_rung_that_cannot_be_asked_is_said_and_tried(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise ModelError("the model is gone.")

    said: list[str] = []
    monkeypatch.setattr(sampling, "_answered", broken)
    found = climb(project(["zero-shot"], said.append), Watcher())
    assert "zero-shot is estimated without asking it: the model is gone." in said[0]
    assert found.records[0].status == "done"


def test_seconds_count_only_on_the_machine_that_answered(project: Any) -> None:
    made = project(["zero-shot"])
    climb(made, Watcher())
    [one] = made.samples.values()
    facts = made.bases["fake"].facts
    slow = replace(one, seconds=1e6)
    assert slow.seen(facts, made.machine).slower == samples.MOST_SLOWER
    assert slow.seen(facts, replace(made.machine, bandwidth_gbs=1.0)).slower == 1.0
