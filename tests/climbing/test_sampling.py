"""A few train rows are asked before a climb is estimated: which, of whom, how often, and what the estimate makes of them."""

from __future__ import annotations

import errno
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from watcher import Watcher

from rung.climbing import sampling
from rung.climbing.climb import climb
from rung.climbing.executors import order
from rung.climbing.project import Project
from rung.errors import DiskFullError, ModelError
from rung.lm.base import Completion
from rung.lm.inference.fake import FakeEngine
from rung.methods import METHODS
from rung.planning import corrections, samples
from rung.planning.corrections import PastEstimate
from rung.planning.samples import Sample
from rung.task import load_task

FAR = "http://127.0.0.1:9/v1#org/big"
"""Nobody listens there."""


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


BOTH = ["zero-shot", "few-shot"]


def names(project: Project, left: float = 1e9) -> list[str]:
    return sorted(one.step.rung for one in sampling.to_sample(project, left))


def row_seconds(project: Project) -> dict[str, float]:
    return {step.rung: step.estimate.row_seconds for step in project.plan.steps if step.estimate}


def sampled(project: Project, *lengths: int) -> dict[str, Sample]:
    """A sample of each rung that can be asked."""
    return {
        one.key: Sample(one.step.rung, samples.task_digest(one.step.base), one.stop, 10**6, lengths)
        for one in sampling.candidates(project)
    }


def test_a_climb_asks_four_train_rows_of_each_rung_that_writes_and_says_so(project: Any, wrote: list[str]) -> None:
    said: list[str] = []
    climb(project([*BOTH, "majority"], said.append), Watcher(), everything=True)
    assert all(one.startswith("train") for one in wrote[:8]) and not any(one.startswith("train") for one in wrote[8:])
    assert said.count("asking 4 rows of few-shot…") == 1 and any("zero-shot wrote 4 of 4 answers in" in one for one in said)


def test_a_second_climb_asks_nothing_new_and_plans_the_same(
    project: Any, wrote: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, *_ = sampling.to_sample(project(BOTH), 1e9)
    monkeypatch.setattr(sampling, "MOST_SECONDS", one.seconds * 1.01)
    first, again = Watcher(), Watcher()
    climb(project(BOTH), first)
    assert len(project(BOTH).samples) == 1
    wrote.clear()
    monkeypatch.setattr(sampling, "_unmeasured", lambda project: set(BOTH))
    monkeypatch.setattr(corrections, "past_estimates", lambda *_: ([], []))  # how long the first one took
    climb(project(BOTH), again)
    assert not wrote and [step.estimate for step in again.steps] == [step.estimate for step in first.steps]


def test_a_plan_asks_nothing_and_names_whom_a_climb_asks(project: Any, wrote: list[str]) -> None:
    assert "A climb on this machine first asks 4 train rows of: " in sampling.summary(project(BOTH)) and not wrote
    assert sampling.to_ask(replace(project(BOTH), estimate_for=project(BOTH).machine)) == []


def test_answers_that_end_lower_the_estimate_but_not_the_raw_one(project: Any) -> None:
    watcher = Watcher()
    result = climb(project(BOTH), watcher, everything=True)
    for step, record in zip(watcher.steps, result.records):
        assert step.sampled and step.estimate.row_seconds < step.raw.row_seconds
        assert record.provenance.raw_quote == step.raw


def test_a_sample_counts_for_rungs_that_stop_alike(project: Any) -> None:
    made = project(["few-shot", "zero-shot", "lora"])
    given = {key: one for key, one in sampled(made, 3, 4).items() if one.rung == "few-shot"}
    plain, known = row_seconds(made), row_seconds(replace(made, given_samples=given))
    assert known.pop("few-shot") < plain.pop("few-shot") and known == plain


def test_a_rungs_own_measurement_takes_the_samples_place(project: Any) -> None:
    made = project(BOTH)
    step, given = made.plan.named("zero-shot"), sampled(made, 3, 4)
    own = PastEstimate("k", "zero-shot", True, row=2.0, base=step.base.start.model.digest)
    by_own = replace(made, past=([own], []), given_samples=given).plan.named("zero-shot")
    assert by_own.estimate.row_seconds == pytest.approx(2 * step.raw.row_seconds) and not by_own.sampled
    by_others, alone = (
        replace(made, past=([], past), given_samples=given).plan.named("zero-shot") for past in ([replace(own, base="")], [])
    )
    assert by_others.estimate == alone.estimate and by_others.sampled, "other tasks have other lengths"
    unsampled = replace(made, past=([], [replace(own, base="")]), given_samples={}).plan.named("zero-shot")
    assert unsampled.estimate.row_seconds == pytest.approx(2 * step.raw.row_seconds)


def test_who_charges_and_who_trains_is_not_asked(project: Any) -> None:
    bases = {"bases": ["fake", FAR], "prices": {"org/big": {"input": 2.0, "output": 10.0}}}
    assert names(project(["zero-shot", "lora", "few-shot+lora", "rag+few-shot"], **bases)) == ["zero-shot"]
    assert not names(project(BOTH, kind="classify")), "labels are chosen, not written"


def test_a_single_rung_and_a_measured_one_are_not_asked(project: Any) -> None:
    assert names(project(["zero-shot"])) == [] and names(project(BOTH)) == sorted(BOTH)
    climb(project(["zero-shot"]), Watcher())
    assert names(project([*BOTH, "prompt-search", "majority"])) == ["few-shot", "prompt-search"]


def test_a_search_of_prompts_is_estimated_by_what_it_starts_from(project: Any) -> None:
    [one] = sampling.to_sample(project(["prompt-search", "majority"]), 1e9)
    assert one.methods == ()


def test_asking_takes_a_share_of_what_is_left(project: Any) -> None:
    both = project(BOTH)
    first, second = sampling.to_sample(both, 1e9)
    assert len(sampling.to_sample(both, 1.01 * first.seconds / sampling.SHARE)) == 1
    assert sampling.to_sample(both, 0.99 * min(first.seconds, second.seconds) / sampling.SHARE) == []


@pytest.mark.parametrize("error", [ModelError("the model is gone."), RuntimeError("out of memory")])
def test_a_rung_that_cannot_be_asked_is_said_and_tried(project: Any, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def broken(*_: Any) -> Any:
        raise error

    said: list[str] = []
    monkeypatch.setattr(sampling, "_lengths", broken)
    found = climb(project(BOTH, said.append), Watcher(), everything=True)
    assert len([one for one in said if "is estimated without asking it" in one and str(error) in one]) == 2
    assert {one.status for one in found.records} == {"done"} and not project(BOTH).samples


def test_a_full_disk_ends_the_climb(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sampling, "_lengths", full)
    with pytest.raises(DiskFullError):
        climb(project(BOTH), Watcher())


def test_a_rung_whose_asking_ended_the_process_is_not_asked_again(project: Any) -> None:
    made = project(BOTH)
    for key, one in sampled(made).items():
        samples.put(made.store, key, one)
    again = project(BOTH)
    assert names(again) == [] and row_seconds(again) == row_seconds(made)


def test_an_empty_sample_is_not_stored_and_replaces_none(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = project(BOTH)
    key, one = next(iter(sampled(made, 5).items()))
    samples.put(made.store, key, one)
    samples.put(made.store, key, None)
    assert project(BOTH).samples == {key: one}
    said: list[str] = []
    other = project(BOTH, said.append)
    monkeypatch.setattr(FakeEngine, "generate", lambda self, prompts, *_: [Completion("", 1, 0) for _ in prompts])
    sampling.sample(other, sampling.to_sample(other, 1e9), math.inf)
    assert project(BOTH).samples == {key: one} and any("wrote 0 of 4 answers" in one for one in said)


def test_samples_of_another_shape_are_said_and_dropped(project: Any) -> None:
    project(BOTH).store.write(samples.FILE, {"key": {"rung": "zero-shot", "written": [1]}, "other": 3})
    said: list[str] = []
    made = project(BOTH, said.append)
    assert made.plan.steps and said == [f"{samples.FILE}: 2 of 2 samples have the shape of another version and are not used."]
    climb(made, Watcher())
    assert len(project(BOTH).store.read(samples.FILE)) == 2, "those of today"


def test_samples_travel_to_workers(project: Any) -> None:
    made = project(BOTH)
    given = replace(made, given_samples=sampled(made, 3, 4))
    sent = order.Order(str(made.task.folder), order.write_climb(given), "zero-shot", "", "attempt")
    built = order.rebuilt(sent)
    assert built.samples == given.samples and row_seconds(built) == row_seconds(given) != row_seconds(made)


def test_a_cascade_is_estimated_by_its_parts_samples(project: Any) -> None:
    made = project(["zero-shot>few-shot"])
    plain, known = (
        one.plan.named("zero-shot>few-shot").estimate for one in (made, replace(made, given_samples=sampled(made, 3)))
    )
    assert known.row_seconds < plain.row_seconds and known.fit_seconds < plain.fit_seconds


def test_the_key_of_a_sample_has_what_changes_its_meaning(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    base, data = project(BOTH).plan.bases["fake"], project(BOTH).inputs.data
    few, rag = METHODS["few-shot"], METHODS["rag"]
    key = samples.key(base, [few], data)
    longer = replace(base, facts=replace(base.facts, output_tokens=4 * base.facts.output_tokens + 4))
    prompts = replace(base, facts=replace(base.facts, input_tokens=4 * base.facts.input_tokens))
    other = replace(data, documents=replace(data.documents, digest="another"))
    assert samples.key(base, [few], other) == key != samples.key(longer, [few], data)
    assert key != samples.key(prompts, [few], data)
    assert samples.key(base, [rag], data) != samples.key(base, [rag], other)
    monkeypatch.setattr(type(few), "fit_version", 99)
    assert samples.key(base, [few], data) != key
