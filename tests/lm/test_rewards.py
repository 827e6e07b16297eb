"""The reward model: its number is that of a sequence classifier, it learns to rank, and is opened as it was saved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from slowly import slow_but

from rung.lm.models import adapters, fits
from rung.lm.models.load import Loaded
from rung.lm.training import preferences, rewards, train
from rung.lm.training.preferences import Pair
from rung.lm.trees.tree import Row
from rung.machine import Machine
from rung.types import Message


def two(loaded: Loaded, count: int = 8) -> list[tuple[Row, Row]]:
    asked = [(Message("system", "be short"), Message("user", f"the parcel {i * 7}")) for i in range(count)]
    return [(loaded.chat.row(one, "refund" * (1 + i % 3)), loaded.chat.row(one, "late")) for i, one in enumerate(asked)]


def judging(fresh: Callable[[str], Loaded], kind: str = "llama") -> Loaded:
    loaded, head = rewards.with_reward_head(fresh(kind), 1)
    return replace(loaded, model=adapters.lora(loaded.model, 2, 4, 0.0, 0, whole=(head,)))


def trained(loaded: Loaded, folder: Path, epochs: int = 6, **given: Any) -> train.History:
    plan = train.TrainConfig(learning_rate=2e-2, epochs=epochs, batch=4)
    items = [Pair(*pair) for pair in two(loaded)]
    return train.run(loaded, items, plan, folder, loss=rewards.bradley_terry, items=preferences.pairs(), **given)


def test_the_number_is_that_of_a_sequence_classifier(base: Callable[[str], Path], fresh: Callable[[str], Loaded]) -> None:
    from transformers import AutoModelForSequenceClassification

    ours, _ = rewards.with_reward_head(fresh("llama"), 1)
    theirs = AutoModelForSequenceClassification.from_pretrained(base("llama"), num_labels=1)
    with torch.no_grad():
        theirs.score.weight.copy_(ours.model.get_output_embeddings().weight)
        rows = [row for pair in two(ours) for row in pair]
        wanted = torch.cat([theirs(torch.tensor([row.tokens])).logits[0] for row in rows])
        torch.testing.assert_close(rewards.row_rewards(ours.model, rows, True), wanted, rtol=1e-4, atol=1e-5)
    assert wanted.std() > 0.01


@pytest.mark.parametrize("kind", slow_but(["llama"], ["llama", "gemma3", "bloom"]))
def test_it_learns_to_rank(fresh: Callable[[str], Loaded], tmp_path: Path, kind: str) -> None:
    loaded = judging(fresh, kind)
    found = trained(loaded, tmp_path / "work", 12)
    assert found.losses[-1] < 0.5 * found.losses[0]
    for better, worse in two(loaded):
        a, b = preferences.score_rows(loaded, [better, worse], of=rewards.row_rewards)
        assert a > b


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_weights(fresh: Callable[[str], Loaded], tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def kill(done: int, total: int, loss: float) -> None:
        if done == 5:
            raise Killed

    whole, cut, again = (judging(fresh) for _ in range(3))
    trained(whole, tmp_path / "whole")
    with pytest.raises(Killed):
        trained(cut, tmp_path / "cut", watch=train.Watch(kill))
    trained(again, tmp_path / "cut")
    a, b = (loaded.model.state_dict() for loaded in (whole, again))
    assert all(torch.equal(a[name], b[name]) for name in a), "the head is part of the checkpoint"


def test_saved_and_opened_it_judges_the_same(
    base: Callable[[str], Path], fresh: Callable[[str], Loaded], machine: Machine, tmp_path: Path
) -> None:
    loaded = judging(fresh)
    trained(loaded, tmp_path / "work")
    rewards.save(loaded, tmp_path / "model")
    rows = [row for pair in two(loaded) for row in pair]
    wanted = preferences.score_rows(loaded, rows, of=rewards.row_rewards)
    assert fits.reward_model(str(tmp_path / "model")) == tmp_path / "model"
    assert fits.reward_model("") is None
    assert rewards.RewardModel(base("llama"), machine, tmp_path / "model")(rows) == pytest.approx(wanted, abs=1e-4)
    assert fits.split(base("llama"), str(tmp_path / "model")) == (base("llama"), []), "it is no part of what answers"
