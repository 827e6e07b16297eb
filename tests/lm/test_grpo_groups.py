"""GRPO: the loss of TRL, groups sampled as single answers are, and the same weights however often it was killed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rung.lm.base import Decoding, Prompt
from rung.lm.inference.causal import CausalEngine
from rung.lm.models import adapters
from rung.lm.models.load import Loaded
from rung.lm.training import grpo_groups, train
from rung.lm.training.grpo_groups import Group, RewardedPrompt, Sampling
from rung.lm.trees import attention
from rung.lm.trees.forward import row_logprobs
from rung.lm.trees.tree import Row, count
from rung.types import Message

HOW = Sampling(count=4, max_new_tokens=6, clip=0.2, beta=0.0, updates=1, seed=3, tokens=2048)


def prompts(loaded: Loaded, number: int = 6) -> list[tuple[int, ...]]:
    return [loaded.chat.prompt((Message("system", "be short"), Message("user", f"parcel {i * 7}"))) for i in range(number)]


def drawn(loaded: Loaded, gain: Sequence[float] = (1.5, -0.5, -0.7, -0.3)) -> list[Group]:
    """Two groups of answers of several lengths, with advantages and made-up earlier log-probabilities."""
    generator = torch.Generator().manual_seed(1)
    made = []
    for prompt in prompts(loaded, 2):
        tails = [tuple(torch.randint(5, 300, (n,), generator=generator).tolist()) for n in (3, 1, 5, 2)]
        rows = tuple(Row(prompt + tail, (False,) * len(prompt) + (True,) * len(tail)) for tail in tails)
        made.append(Group(rows, tuple(gain), 22))
    with torch.no_grad():
        known = [row_logprobs(loaded.model, group.rows, True)[0] for group in made]
    shifted: list[list[grpo_groups.Logprobs]] = [[], []]
    for logs, group in zip(known, made):
        for out, width in zip(shifted, (0.5, 0.2)):
            noisy = logs + width * torch.randn(logs.shape, generator=generator)
            out.append(tuple(tuple(part.tolist()) for part in noisy.split([sum(row.targets) for row in group.rows])))
    return [replace(group, old=old, reference=reference) for group, old, reference in zip(made, *shifted)]


def gradient(model: Any) -> torch.Tensor:
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in model.parameters()])


def stepped(loaded: Loaded, given: Sequence[Group], how: Sampling, trees: bool = True) -> tuple[float, torch.Tensor]:
    loss, items = grpo_groups.grpo(loaded, how, lambda *_: None)
    loaded.model.zero_grad()
    loaded.model.set_attn_implementation(attention.NAME if trees else "sdpa")
    value = loss(loaded.model, given, trees) / items.weight(given)
    value.backward()
    return float(value.detach()), gradient(loaded.model)


@pytest.mark.parametrize("kind", ["llama", "gemma3"])
def test_a_tree_gives_what_padded_rows_give(fresh: Callable[[str], Loaded], kind: str) -> None:
    loaded, how = fresh(kind), replace(HOW, beta=0.1, updates=2)
    given = drawn(loaded)
    found, wanted = stepped(loaded, given, how, True), stepped(loaded, given, how, False)
    assert found[0] == pytest.approx(wanted[0], rel=1e-5)
    assert (found[1] - wanted[1]).norm() <= 1e-5 * wanted[1].norm()


@pytest.mark.parametrize("beta", [0.0, 0.1])
def test_the_loss_is_that_of_trl(fresh: Callable[[str], Loaded], tmp_path: Path, beta: float) -> None:
    trl, datasets = pytest.importorskip("trl"), pytest.importorskip("datasets")
    loaded, how = fresh("llama"), replace(HOW, beta=beta, updates=2)
    given = drawn(loaded)
    plain = copy.deepcopy(loaded.model)
    plain.set_attn_implementation("sdpa")
    config = trl.GRPOConfig(
        output_dir=str(tmp_path),
        per_device_train_batch_size=8,
        num_generations=4,
        beta=beta,
        epsilon=0.2,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        disable_tqdm=True,
    )
    trainer = trl.GRPOTrainer(
        plain,
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=config,
        train_dataset=datasets.Dataset.from_list([{"prompt": "hi"}] * 8),
        processing_class=loaded.chat.tokenizer,
    )
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    value = trainer._compute_loss(trainer.model, padded(given, beta))
    value.backward()
    found = stepped(loaded, given, how)
    assert found[0] == pytest.approx(float(value.detach()), rel=1e-5)
    assert (found[1] - gradient(trainer.model)).norm() <= 1e-5 * found[1].norm()


def padded(given: Sequence[Group], beta: float) -> dict[str, torch.Tensor]:
    """Groups as TRL's trainer has them: prompts filled up on the left, answers on the right."""
    rows = [row for group in given for row in group.rows]
    starts = [row.targets.index(True) for row in rows]
    left, right = max(starts), max(len(row.tokens) - start for row, start in zip(rows, starts))

    def line(values: Sequence[float], width: int, before: bool) -> list[float]:
        fill = [0] * (width - len(values))
        return [*fill, *values] if before else [*values, *fill]

    out = {
        "prompt_ids": torch.tensor([line(row.tokens[:s], left, True) for row, s in zip(rows, starts)]),
        "prompt_mask": torch.tensor([line([1] * s, left, True) for s in starts]),
        "completion_ids": torch.tensor([line(row.tokens[s:], right, False) for row, s in zip(rows, starts)]),
        "completion_mask": torch.tensor([line([1] * (len(row.tokens) - s), right, False) for row, s in zip(rows, starts)]),
        "advantages": torch.tensor([gain for group in given for gain in group.advantages]),
        "old_per_token_logps": torch.tensor([line(logs, right, False) for group in given for logs in group.old]),
        "num_items_in_batch": torch.tensor(float(given[0].total)),
    }
    if beta:
        out["ref_per_token_logps"] = torch.tensor([line(logs, right, False) for group in given for logs in group.reference])
    return out


def test_gains_are_deviations_within_the_group() -> None:
    rewards = [0.0, 0.0, 1.0, 0.5]
    found = torch.tensor(rewards)
    wanted = (found - found.mean()) / (found.std() + 1e-4)
    assert grpo_groups.advantages(rewards) == pytest.approx(wanted.tolist(), rel=1e-5)
    assert grpo_groups.advantages([0.3] * 4) == (0.0,) * 4


@pytest.mark.parametrize("kind", ["llama", "bloom"])
def test_samples_differ_and_hang_on_seed_and_prompt_alone(fresh: Callable[[str], Loaded], kind: str) -> None:
    loaded = fresh(kind)
    engine, asked = CausalEngine(loaded), prompts(loaded, 5)
    decoding = Decoding(max_new_tokens=6, temperature=1.0, seed=7)
    found = engine.samples(asked, 8, decoding)
    assert [len(group) for group in found] == [8] * 5
    assert all(len(set(group)) > 1 for group in found)
    assert all(1 <= len(answer) <= 6 for group in found for answer in group)
    assert CausalEngine(loaded).samples(asked[3:], 8, decoding) == found[3:]
    assert engine.samples(asked, 8, replace(decoding, seed=8)) != found
    messages = (Message("system", "be short"), Message("user", "parcel 0"))
    (single,) = engine.generate([Prompt(messages, "parcel 0")], decoding)
    cut = found[0][0][:-1] if found[0][0][-1] in loaded.chat.stops else found[0][0]
    assert loaded.chat.decode(cut).strip() == single.text, "the first sample is the answer that is given"


# --- training ----------------------------------------------------------------------------------------------------------


def adapted(fresh: Callable[[str], Loaded]) -> Loaded:
    loaded = fresh("llama")
    return replace(loaded, model=adapters.lora(loaded.model, 4, 8, 0.0, 0))


def asked(loaded: Loaded, number: int = 6) -> list[RewardedPrompt]:
    """Low token numbers are worth more: a random model can learn that."""

    def reward(answers: Sequence[tuple[int, ...]]) -> list[float]:
        return [sum(token < 100 for token in answer) / len(answer) for answer in answers]

    return [RewardedPrompt(prompt, reward) for prompt in prompts(loaded, number)]


def trained(loaded: Loaded, folder: Path, how: Sampling, epochs: int, **given: Any) -> tuple[train.History, dict[int, float]]:
    seen: dict[int, float] = {}
    loss, items = grpo_groups.grpo(loaded, how, lambda step, rewards: seen.update({step: sum(rewards) / len(rewards)}))
    plan = train.TrainConfig(learning_rate=4e-2, epochs=epochs, batch=3, repeat=how.updates, save=2 * how.updates, warmup=0.0)
    return train.run(loaded, asked(loaded), plan, folder, loss=loss, items=items, **given), seen


def test_the_reward_rises(fresh: Callable[[str], Loaded], tmp_path: Path) -> None:
    _, seen = trained(adapted(fresh), tmp_path / "work", replace(HOW, count=8), 12)
    assert sorted(seen) == list(range(24))
    assert sum(seen[i] for i in range(20, 24)) > sum(seen[i] for i in range(4)) + 0.8


@pytest.mark.slow
@pytest.mark.parametrize(
    "how", [pytest.param(HOW, marks=pytest.mark.slow), replace(HOW, updates=2, beta=0.1)], ids=["once", "twice"]
)
def test_a_killed_run_goes_on_to_the_same_weights(fresh: Callable[[str], Loaded], tmp_path: Path, how: Sampling) -> None:
    class Killed(Exception):
        pass

    def kill(done: int, total: int, loss: float) -> None:
        if done == 3 * how.updates:
            raise Killed

    whole, cut, again = (adapted(fresh) for _ in range(3))
    trained(whole, tmp_path / "whole", how, 3)
    with pytest.raises(Killed):
        trained(cut, tmp_path / "cut", how, 3, watch=train.Watch(kill))
    _, seen = trained(again, tmp_path / "cut", how, 3)
    assert min(seen) == 2 * how.updates, "it goes on from the checkpoint"
    a, b = (loaded.model.state_dict() for loaded in (whole, again))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_several_updates_learn_from_the_same_answers(fresh: Callable[[str], Loaded], tmp_path: Path) -> None:
    found, seen = trained(adapted(fresh), tmp_path / "work", replace(HOW, updates=3), 2)
    assert sorted(seen) == [0, 3, 6, 9]
    assert len(found.losses) == 12


def test_a_group_that_is_all_alike_is_not_computed(fresh: Callable[[str], Loaded]) -> None:
    loaded = adapted(fresh)
    dull = [RewardedPrompt(one.prompt, lambda answers: [1.0] * len(answers)) for one in asked(loaded, 2)]
    _, items = grpo_groups.grpo(loaded, HOW, lambda *_: None)
    both = items.prepare([dull[0], *asked(loaded, 2)[1:]], 0)
    assert len(both) == 1
    assert items.weight(both) > sum(sum(row.targets) for row in both[0].rows), "its tokens count in the mean all the same"
    (kept,) = items.prepare(dull, 1)
    assert kept.advantages == (0.0,) * 4, "one stays, so that there is a gradient, of zero"


def test_a_group_shares_its_prompt(fresh: Callable[[str], Loaded]) -> None:
    loaded = adapted(fresh)
    _, items = grpo_groups.grpo(loaded, HOW, lambda *_: None)
    (group,) = items.prepare(asked(loaded, 1), 0)
    prompt = len(prompts(loaded, 1)[0])
    assert count(items.rows(group))[1] <= prompt + HOW.count * HOW.max_new_tokens


def test_out_of_memory_samples_no_second_time(fresh: Callable[[str], Loaded], tmp_path: Path) -> None:
    loaded, calls, drawn = adapted(fresh), [], []
    loss, items = grpo_groups.grpo(loaded, HOW, lambda step, _: drawn.append(step))

    def hungry(model: Any, part: Sequence[Group], trees: bool) -> torch.Tensor:
        calls.append(len(part))
        if len(calls) == 2:
            raise MemoryError
        return loss(model, part, trees)

    plan = train.TrainConfig(learning_rate=1e-2, epochs=1, batch=12, tokens=260)
    said: list[str] = []
    train.run(loaded, asked(loaded, 12), plan, tmp_path / "w", loss=hungry, items=items, watch=train.Watch(say=said.append))
    assert said == ["out of memory: continuing with 130 tokens per pass"]
    assert drawn == [0]
