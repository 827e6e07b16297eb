"""GRPO and the reward model as methods: what rewards an answer, what the record keeps, what a kill costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rung import methods
from rung.errors import DataError, TaskError
from rung.lm.base import Decoding
from rung.lm.engines import Engines
from rung.lm.inference.causal import CausalEngine
from rung.lm.models import fits as layers
from rung.machine import Machine
from rung.methods import pairing
from rung.methods.base import Run
from rung.methods.chain import rewarded
from rung.methods.grpo import Grpo
from rung.methods.reasoning import Reasoning
from rung.methods.reward import Reward
from rung.predictor import Predictor
from rung.types import Example, Preference, TrainData

ROWS = tuple(Example(f"parcel {i}?", "late") for i in range(6))
PREFERENCES = tuple(Preference(f"parcel {i}?", "late" * (1 + i % 2), "refund") for i in range(24))
DATA = TrainData(ROWS, preferences=PREFERENCES)
SMALL = Grpo(samples=4, batch=3, steps=4, longest=5, rank=2, learning_rate=2e-2)
REWARD_MODEL = Reward(rank=2, epochs=6, batch=4, learning_rate=2e-2, held=0.3)


@pytest.fixture
def start(base: Callable[[str], Path], machine: Machine) -> Predictor:
    model = Engines(machine).reference(str(base("llama")))
    return Predictor(kind="answer", model=model, instruction="Be short.", decoding=Decoding(max_new_tokens=8))


@pytest.fixture
def run(machine: Machine, tmp_path: Path) -> Callable[..., Run]:
    engines = Engines(machine, say=lambda text: None)

    def made(name: str = "fit", **given: Any) -> Run:
        (tmp_path / name).mkdir(exist_ok=True)
        return Run(tmp_path / name, engines, **given)

    return made


def test_the_task_metric_rewards_and_the_record_keeps_it(start: Predictor, run: Callable[..., Run]) -> None:
    seen: list[tuple[str, Example]] = []

    def reward(answer: str, row: Example) -> float:
        seen.append((answer, row))
        return len(answer) % 3 / 2

    done = run(reward=reward)
    found = SMALL.fit(start, DATA, done)
    assert found.digest != start.digest
    assert len(seen) == 4 * 3 * 4
    assert {row for _, row in seen} == set(ROWS)
    means = [sum(len(a) % 3 / 2 for a, _ in seen[i * 12 : i * 12 + 12]) / 12 for i in range(4)]
    assert [mean for mean, _ in done.notes["rewards"]] == pytest.approx(means, abs=1e-4)
    assert all("<|" not in answer for answer, _ in seen), "the end token is no part of an answer"


def test_patience_looks_at_rows_that_are_not_learnt_from(start: Predictor, run: Callable[..., Run]) -> None:
    asked: list[str] = []

    def reward(answer: str, row: Example) -> float:
        asked.append(row.input)
        return len(answer) % 3 / 2

    done = run(reward=reward)
    replace(SMALL, patience=9).fit(start, DATA, done)
    assert len(done.notes["held"]) == 4, "each of so few steps is looked at"
    (held,) = {row for row in asked if asked.count(row) == 4}
    assert len(asked) == 4 * 3 * 4 + 4
    assert set(asked) - {held} == {row.input for row in ROWS} - {held}


def test_ones_own_function_rewards(start: Predictor, run: Callable[..., Run], tmp_path: Path) -> None:
    (tmp_path / "rewards.py").write_text("def short(output, reference, row):\n    return len(output) < 4\n")
    done = run(home=tmp_path)
    replace(SMALL, reward="rewards.py:short").fit(start, DATA, done)
    assert len(done.notes["rewards"]) == 4
    for name, what in (
        ("rewards.py:long", "no function 'long'"),
        ("other.py:f", "missing file"),
        ("short", "the reward is 'short'"),
    ):
        with pytest.raises(TaskError, match=what) as caught:
            replace(SMALL, reward=name).fit(start, DATA, run(name.replace(":", "-"), home=tmp_path))
        assert caught.value.where == "rung.yaml methods.grpo.reward"


def test_a_reward_model_is_fitted_first_and_rewards(start: Predictor, run: Callable[..., Run]) -> None:
    first = run("reward")
    scored = REWARD_MODEL.fit(start, DATA, first)
    accuracy = first.notes["preferences"]["accuracy"]
    assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
    assert accuracy["value"] > 0.9, "refund is always the worse one"
    asked = [answer.output for answer in scored.predict(ROWS, first.engines)]
    assert asked == [answer.output for answer in start.predict(ROWS, first.engines)], "answers stay as they were"
    second = run("grpo")
    found = replace(SMALL, reward="reward-model").fit(scored, DATA, second)
    assert layers.reward_model(found.model.files) == Path(found.model.files) / "before"
    assert len({mean for mean, _ in second.notes["rewards"]}) == 4
    with pytest.raises(TaskError, match=r"reward\+grpo"):
        replace(SMALL, reward="judge").fit(start, DATA, run("none"))


@pytest.mark.slow
def test_killed_it_goes_on_and_forgets_no_reward(start: Predictor, run: Callable[..., Run]) -> None:
    long = replace(SMALL, steps=13)
    whole = run("whole", reward=lambda answer, row: len(answer) % 3 / 2)
    wanted = long.fit(start, DATA, whole)

    class Killed(Exception):
        pass

    def kill(text: str, share: float) -> None:
        if text.startswith("step 12"):
            raise Killed

    cut = {"reward": whole.reward}
    with pytest.raises(Killed):
        long.fit(start, DATA, run("cut", progress=kill, **cut))
    again = run("cut", **cut)
    assert long.fit(start, DATA, again).digest == wanted.digest
    assert again.notes["rewards"] == whole.notes["rewards"]


@pytest.mark.slow
def test_killed_with_patience_it_goes_on_to_the_same_weights(start: Predictor, run: Callable[..., Run]) -> None:
    class Killed(Exception):
        pass

    def kill(text: str, share: float) -> None:
        if text.startswith("step 5 "):
            raise Killed

    def reward(answer: str, row: Example) -> float:
        return len(answer) % 3 / 2

    method = replace(SMALL, patience=9, updates=2)
    whole = method.fit(start, DATA, run("whole", reward=reward))
    with pytest.raises(Killed):
        method.fit(start, DATA, run("cut", reward=reward, progress=kill))
    done = run("cut", reward=reward)
    assert method.fit(start, DATA, done).digest == whole.digest
    assert len(done.notes["held"]) == 4, "a look never falls between two updates on one draw"


def test_the_reward_models_best_epoch_is_kept(start: Predictor, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    def fitted(name: str, scores: list[float]) -> tuple[str, Run]:
        left = iter(scores)
        monkeypatch.setattr(pairing, "score", lambda *_: lambda: next(left))
        done = run(name)
        return replace(REWARD_MODEL, patience=2).fit(start, DATA, done).digest, done

    second, done = fitted("second", [0.2, 0.9, 0.5, 0.4])
    assert done.notes["held"] == [0.2, 0.9, 0.5, 0.4]
    assert fitted("again", [0.3, 0.8, 0.1, 0.0])[0] == second
    assert fitted("first", [0.9, 0.8, 0.7])[0] != second


def test_the_reward_model_is_looked_at_by_pairs_it_does_not_learn_from(start: Predictor, run: Callable[..., Run]) -> None:
    done = run()
    replace(REWARD_MODEL, patience=9).fit(start, DATA, done)
    assert len(done.notes["held"]) == 6 and done.notes["held"][-1] == 1.0, "longer is better is soon learnt"


def test_one_answer_cannot_be_compared() -> None:
    with pytest.raises(TaskError, match="samples must be at least 2, got 1"):
        methods.rung("grpo", {"grpo": {"samples": 1}})


@pytest.mark.parametrize(("longest", "fits"), [(5, True), (900, False)])
def test_a_prompt_without_room_for_its_answers_is_told_before_any_is_drawn(
    start: Predictor, run: Callable[..., Run], longest: int, fits: bool
) -> None:
    rows = (*ROWS, Example("x" * 300, "late", where="rows.csv line 8"))
    told: list[str] = []
    done = run(progress=lambda text, share: told.append(text))
    method = replace(SMALL, longest=longest, steps=1)
    if fits:
        method.fit(start, TrainData(rows), done)
        return
    with pytest.raises(DataError, match=r"rows.csv line 8: a prompt of \d+ tokens and answers of 900 .* 1024 tokens"):
        method.fit(start, TrainData(rows), done)
    assert not told


def test_behind_reasoning_what_stands_behind_the_mark_is_rewarded(
    start: Predictor, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    reasoned = Reasoning(thought=20).fit(start, DATA, run("reasoning"))
    assert reasoned.thinking
    seen: list[str] = []
    asked: list[tuple[str, int]] = []
    texts = ["first this.\nAnswer:\nlate", "so.\nAnswer: refund\nAnswer: late", "it is late"]

    def samples(self: CausalEngine, ids: Any, count: int, decoding: Decoding) -> list[list[tuple[int, ...]]]:
        asked.extend((self.chat.decode(tokens), decoding.max_new_tokens) for tokens in ids)
        return [[self.chat.answer(text) for text in texts] for _ in ids]

    def reward(answer: str, row: Example) -> float:
        seen.append(answer)
        return float(answer == row.output)

    monkeypatch.setattr(CausalEngine, "samples", samples)
    done = run("grpo", reward=reward)
    replace(SMALL, samples=3, steps=1).fit(reasoned, DATA, done)
    assert seen == ["late", "refund", ""] * 3
    assert done.notes["rewards"][0][0] == pytest.approx(1 / 3, abs=1e-4)
    assert {room for _, room in asked} == {5 + 20}
    assert all(text.endswith(reasoned.thinking.opening) for text, _ in asked)


def test_a_reward_model_of_bare_answers_scores_no_reasoning(start: Predictor, run: Callable[..., Run]) -> None:
    scored = Reasoning(thought=20).fit(REWARD_MODEL.fit(start, DATA, run("reward")), DATA, run("reasoning"))
    with pytest.raises(TaskError, match="without reasoning"):
        replace(SMALL, reward="reward-model").fit(scored, DATA, run("grpo"))


def test_another_metric_or_other_code_is_another_fit(tmp_path: Path) -> None:
    own = replace(SMALL, reward="rewards.py:short")
    (tmp_path / "rewards.py").write_text("def short(output, reference, row):\n    return 1.0\n")
    found = [rewarded(own, "accuracy", tmp_path), rewarded(own, "token_f1", tmp_path)]
    (tmp_path / "rewards.py").write_text("def short(output, reference, row):\n    return 0.0\n")
    found.append(rewarded(own, "accuracy", tmp_path))
    assert len({*map(tuple, found)}) == 3
    assert rewarded(REWARD_MODEL, "accuracy", tmp_path) == []
