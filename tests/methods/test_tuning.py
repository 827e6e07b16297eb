"""What the training methods share: held-back rows are scored by the task's metric on the weights as they are now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rung.lm.engines import Engines
from rung.lm.training import order
from rung.machine import Machine
from rung.methods import METHODS, tuning
from rung.methods.base import Run, options
from rung.methods.chain import rewarded
from rung.methods.estimate import CostEstimate
from rung.methods.facts import Facts
from rung.methods.lora import Lora
from rung.predictor import Predictor
from rung.types import Example, TrainData

Start = tuple[Predictor, Engines]
ROWS = [Example(f"the parcel {i}", "late" if i % 2 else "refund") for i in range(8)]


@pytest.fixture
def start(base: Callable[[str], Path], machine: Machine) -> Start:
    engines = Engines(machine, say=lambda text: None)
    model = engines.reference(str(base("llama")))
    return Predictor(kind="classify", model=model, instruction="?", labels=("late", "refund")), engines


def test_the_held_score_is_the_reward_of_the_weights_as_they_are(start: Start, tmp_path: Path) -> None:
    predictor, engines = start
    seen: list[str] = []

    def reward(answer: str, example: Example) -> float:
        seen.append(answer)
        return float(answer == "late")

    run = Run(tmp_path, engines, reward=reward)
    loaded = tuning.open_model(predictor, run)
    score = tuning.score(loaded, predictor, ROWS, run)
    assert score() == seen.count("late") / len(ROWS)
    before, seen[:] = list(seen), []
    with torch.no_grad():
        loaded.model.lm_head.weight.neg_()
    assert score() == seen.count("late") / len(ROWS)
    assert seen != before, "the engine answered with what it had kept of the old weights"


def test_no_other_copy_of_the_weights_stays_in_memory_while_one_is_trained(start: Start, tmp_path: Path) -> None:
    predictor, engines = start
    engines.open(predictor.model)
    assert engines.opened
    tuning.open_model(predictor, Run(tmp_path, engines))
    assert not engines.opened


def test_a_second_fit_stands_on_the_first(start: Start, tmp_path: Path) -> None:
    predictor, engines = start
    lora, data = Lora(rank=2, epochs=1, batch=4), TrainData(tuple(ROWS), ("late", "refund"))
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        predictor = lora.fit(predictor, data, Run(tmp_path / name, engines))
    assert (tmp_path / "two" / "model" / "before" / "adapter_config.json").exists()
    alone = replace(predictor, model=replace(predictor.model, files=str(tmp_path / "one" / "model")))
    a, b = ([p.confidence for p in which.predict(ROWS, engines)] for which in (predictor, alone))
    assert a != b


def test_stopping_by_the_metric_names_it_in_the_fit(tmp_path: Path) -> None:
    """With patience the metric chooses the epoch, so another metric is another fit."""
    assert rewarded(Lora(), "accuracy", tmp_path) == []
    assert rewarded(Lora(patience=2), "accuracy", tmp_path) == ["accuracy"]


# --- rows held back ----------------------------------------------------------------------------------------------------


def test_rows_are_held_back_by_seed_and_some_are_left() -> None:
    examples = [Example(str(i), "x") for i in range(20)]
    kept, held = tuning.hold_back(examples, 0.1, 3)
    assert (len(kept), len(held)) == (18, 2)
    assert {*kept, *held} == {*examples}
    assert tuning.hold_back(examples, 0.1, 3) == (kept, held)
    assert tuning.hold_back(examples[:1], 0.9, 3) == (examples[:1], [])


@pytest.mark.parametrize("count", [2, 4])
def test_of_few_rows_one_is_held_back(count: int) -> None:
    found = [tuning.hold_back([Example(str(i), "x") for i in range(count)], 0.1, seed) for seed in range(9)]
    assert {(len(kept), len(held)) for kept, held in found} == {(count - 1, 1)}
    assert len({row for _, held in found for row in held}) > 1, "which one hangs on the seed"


@pytest.mark.parametrize("seed", range(5))
def test_a_group_is_not_torn_apart(seed: int) -> None:
    examples = [Example(f"{i}", "x", group=f"customer {i // 3}") for i in range(60)]
    asked_twice = [Example("Late?", "yes"), Example("late", "no")]
    kept, held = tuning.hold_back([*examples, *asked_twice], 0.1, seed)
    assert not {row.group for row in kept if row.group} & {row.group for row in held}
    assert len({row in held for row in asked_twice}) == 1
    assert 4 <= len(held) <= 6
    large = [Example(f"{i}", "x", group="many" if i > 3 else "few") for i in range(20)]
    assert [row.group for row in tuning.hold_back(large, 0.1, seed)[1]] == ["few"] * 4
    assert tuning.hold_back(large[4:], 0.1, seed) == (large[4:], []), "it is all one group"


def test_what_a_teacher_said_chooses_no_epoch() -> None:
    own = [Example(str(i), "x") for i in range(20)]
    taught = tuple(Example(f"t{i}", "x", where="labelled by teacher") for i in range(200))
    for seed in range(5):
        kept, held = tuning.hold_back([*own, *taught], 0.1, seed, taught)
        assert len(held) == 2
        assert not {*held} & {*taught}
        assert len(kept) == 218


@pytest.mark.parametrize("name", [name for name, one in METHODS.items() if "patience" in options(one) and name != "encoder-full"])
def test_stopping_early_is_in_the_quote(machine: Machine, name: str) -> None:
    facts = Facts(
        parameters=135_000_000,
        encoder_parameters=22_000_000,
        shared_tokens=40,
        labels=2,
        train_rows=500,
        input_tokens=30,
        output_tokens=3,
        pairs=500,
        pair_tokens=200,
        corpus_tokens=500_000,
    )
    start = CostEstimate(fit_seconds=1.0, prompt_tokens=60, row_seconds=0.1, memory_bytes=10**9)
    plain, early = (replace(METHODS[name], patience=p).estimate(start, facts, machine).fit_seconds for p in (0, 2))
    assert plain < early < 2 * plain


def test_patience_without_rows_to_choose_by_is_told(start: Start, tmp_path: Path) -> None:
    predictor, engines = start
    run = Run(tmp_path, engines)
    taught = tuple(Example(f"t{i}", "late", where="labelled by teacher") for i in range(20))
    data = TrainData((ROWS[0], *taught))
    assert tuning.held_back(replace(predictor, taught=taught), data, 2, run) == ([ROWS[0], *taught], [])
    assert "patience has no effect" in run.notes["said"][0]
    again = Run(tmp_path, engines)
    assert tuning.held_back(predictor, TrainData(tuple(ROWS)), 0, again) == (ROWS, [])
    assert len(tuning.held_back(predictor, TrainData(tuple(ROWS)), 2, again)[1]) == 1
    assert not again.notes


# --- how it is trained -------------------------------------------------------------------------------------------------


def test_the_loss_to_stop_at_reaches_the_training_and_patience_keeps_the_cosine(tmp_path: Path) -> None:
    run = Run(tmp_path, Engines())
    for name in ("lora", "qlora", "full", "ia3"):
        method = replace(METHODS[name], stop_below=0.3)
        plan = method.plan(run, 1e-3)
        assert (plan.stop_below, plan.steady) == (0.3, True)
        assert replace(method, patience=2).plan(run, 1e-3).stop_below == 0
        assert METHODS[name].plan(run, 1e-3).steady == (name == "lora")


def test_rows_that_share_a_long_beginning_are_computed_together(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor, engines = start
    words = ("parcel", "money", "late", "refund", "back", "where")
    data = TrainData(tuple(Example(f"{word * 30} {i}", "late") for i in (1, 2) for word in words))
    run = Run(tmp_path, engines)
    plan, loaded = Lora(epochs=1, batch=4).plan(run, 1e-3), tuning.open_model(predictor, run)
    grouped = tuning.on_examples(loaded, predictor, data, plan, run)
    monkeypatch.setattr(order, "groups", lambda rows: [[i] for i in range(len(rows))])
    alone = tuning.on_examples(loaded, predictor, data, plan, run)
    assert grouped.rows_seen == alone.rows_seen == 12
    assert grouped.nodes < 0.8 * alone.nodes


# --- trackers ----------------------------------------------------------------------------------------------------------


def test_trackers_have_a_folder_that_stays(start: Start, tmp_path: Path) -> None:
    work, shared = tmp_path / ".rung" / "work" / "abc", tmp_path / ".rung"
    watch = tuning.watch(Run(work, start[1], shared=shared, trackers=("tensorboard",)))
    assert watch.tracker_folder == shared / "trackers" / "abc"
    assert tuning.watch(Run(work, start[1], shared=shared)).tracker_folder is None
