"""GRPO: groups of answers sampled from the current model, weighted by their advantage over the group.

https://arxiv.org/abs/2402.03300, the loss averaged over all tokens of a step as in DAPO (https://arxiv.org/abs/2503.14476) and
TRL's default; the tests compare it with TRL's. A group shares its prompt in one tree, in sampling and in training.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from rung.errors import RungError
from rung.lm import out_of_memory, processes
from rung.lm.base import Decoding
from rung.lm.inference.causal import CausalEngine
from rung.lm.models.load import Loaded
from rung.lm.training.train import Items, Loss
from rung.lm.trees import tree
from rung.lm.trees.forward import row_logprobs
from rung.lm.trees.tree import Row

Logprobs = tuple[tuple[float, ...], ...]
"""Log-probabilities of the answers' tokens, one tuple per row."""


@dataclass(frozen=True, slots=True)
class RewardedPrompt:
    """A prompt, and the reward of answers to it."""

    prompt: tuple[int, ...]
    reward: Callable[[Sequence[tuple[int, ...]]], Sequence[float]]
    """From the tokens of answers to the reward of each."""


@dataclass(frozen=True, slots=True)
class Group:
    """The answers sampled for one prompt."""

    rows: tuple[Row, ...]
    advantages: tuple[float, ...]
    """Standard deviations by which each answer's reward exceeds the group's mean."""
    total: int
    """Tokens of all answers of the step, dropped groups included."""
    old: Logprobs = ()
    """Under the model that sampled them, if it was updated since; else empty."""
    reference: Logprobs = ()
    """Under the reference model (the one before training); empty if the loss does not use it."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How groups are sampled and trained on."""

    count: int
    """Answers per prompt (the group size)."""
    max_new_tokens: int
    """Most tokens of an answer."""
    clip: float
    """Clipping range of the probability ratio to the sampling model."""
    beta: float
    """Weight of the KL divergence from the reference model; 0 skips it."""
    updates: int
    """Updates on the same answers."""
    seed: int
    tokens: int
    """Most nodes of a pass without gradients."""


def grpo(
    loaded: Loaded, how: Sampling, on_rewards: Callable[[int, list[float]], None], say: out_of_memory.Say = lambda text: None
) -> tuple[Loss, Items]:
    """The loss, and the step items that sample groups. `on_rewards(step, rewards)` is called after each sampling.

    `say` reports when memory runs out during sampling; later batches are then smaller. The samples depend only on the
    weights, the seed and the step, so that a killed run resumes exactly.
    """
    if processes.uses_fsdp():
        raise RungError(
            "grpo samples from unsharded weights and does not support FSDP.",
            remedy="Use no sharding in accelerate's configuration.",
        )
    engine = CausalEngine(loaded, say)
    budget = out_of_memory.Budget(how.tokens, say)
    last: list[Group] = []

    def prepare(prompts: Sequence[RewardedPrompt], step: int) -> Sequence[Group]:
        if step % how.updates == 0:
            engine.clear_cache()  # the weights have moved since
            decoding = Decoding(max_new_tokens=how.max_new_tokens, temperature=1.0, seed=how.seed * 1_000_003 + step)
            samples = engine.samples([one.prompt for one in prompts], how.count, decoding)
            rewards = [list(one.reward(answers)) for one, answers in zip(prompts, samples)]
            on_rewards(step, [value for group in rewards for value in group])
            last[:] = _groups(loaded, prompts, samples, rewards, how, budget)
        return list(last)

    def loss(model: Any, groups: Sequence[Group], trees: bool) -> torch.Tensor:
        now, owner = row_logprobs(model, [row for group in groups for row in group.rows], trees)
        advantage = torch.tensor([value for group in groups for value in group.advantages]).to(now)[owner]
        ratio = torch.exp(now - (_flat([group.old for group in groups], now) if groups[0].old else now.detach()))
        each = -torch.min(ratio * advantage, ratio.clamp(1 - how.clip, 1 + how.clip) * advantage)
        if how.beta:
            difference = _flat([group.reference for group in groups], now) - now
            # times the ratio: otherwise the gradient is not that of the KL divergence (https://arxiv.org/abs/2512.02556)
            each = each + how.beta * ratio * (torch.exp(difference) - difference - 1)
        return each.sum()

    return loss, Items(rows=_rows, weight=lambda groups: groups[0].total, prepare=prepare)


def advantages(rewards: Sequence[float]) -> tuple[float, ...]:
    """Each reward's distance from the mean, in standard deviations (with n - 1, as in TRL)."""
    mean, spread = statistics.fmean(rewards), statistics.stdev(rewards)
    return tuple((reward - mean) / (spread + 1e-4) for reward in rewards)


def _rows(item: Any) -> tuple[Row, ...]:
    return item.rows if isinstance(item, Group) else ()


def _groups(
    loaded: Loaded,
    prompts: Sequence[RewardedPrompt],
    samples: Sequence,
    rewards: Sequence,
    how: Sampling,
    budget: out_of_memory.Budget,
) -> list[Group]:
    """Groups to train on. One whose answers have equal rewards has no gradient except that of the KL term."""
    total = sum(len(answer) for answers in samples for answer in answers)
    groups = []
    for one, answers, values in zip(prompts, samples, rewards):
        marks = [(False,) * len(one.prompt) + (True,) * len(answer) for answer in answers]
        rows = tuple(Row(one.prompt + answer, mark) for answer, mark in zip(answers, marks))
        groups.append(Group(rows, advantages(values), total))
    useful = [group for group in groups if how.beta or any(group.advantages)] or groups[:1]
    old = _logprobs(loaded.model, loaded, useful, budget) if how.updates > 1 else [()] * len(useful)
    reference: Sequence[Logprobs] = [()] * len(useful)
    if how.beta:
        with loaded.model.disable_adapter():
            reference = _logprobs(loaded.model, loaded, useful, budget)
    return [Group(group.rows, group.advantages, total, *both) for group, *both in zip(useful, old, reference)]


@torch.no_grad()
def _logprobs(model: Any, loaded: Loaded, groups: Sequence[Group], budget: out_of_memory.Budget) -> list[Logprobs]:
    """Log-probabilities of the answers' tokens under the current model."""
    out: list[Logprobs] = [()] * len(groups)

    def score(part: list[int]) -> list[list[float]]:
        rows = [row for i in part for row in groups[i].rows]
        logs = row_logprobs(model, rows, loaded.trees)[0]
        return [own.tolist() for own in logs.split([sum(row.targets) for row in rows])]

    split = partial(tree.split_groups, [group.rows for group in groups])
    for part, logs in out_of_memory.run_in_parts(range(len(groups)), budget, split, score):
        each = iter(logs)
        for i in part:
            out[i] = tuple(tuple(next(each)) for _ in groups[i].rows)
    return out


def _flat(logprobs: Sequence[Logprobs], like: torch.Tensor) -> torch.Tensor:
    return torch.tensor([log for logs in logprobs for row in logs for log in row]).to(like)
