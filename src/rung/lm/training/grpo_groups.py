"""GRPO: groups of answers sampled from the model as it is, each pulled or pushed by how it compares with its group.

https://arxiv.org/abs/2402.03300, the loss averaged over all tokens of a step as DAPO does (https://arxiv.org/abs/2503.14476)
and TRL by default; the tests hold it to TRL's. A group shares its prompt in one tree, when it is sampled and when it is learnt.
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
from rung.lm.trees.forward import row_logs
from rung.lm.trees.tree import Row

Logs = tuple[tuple[float, ...], ...]
"""Log-probabilities of the answers' tokens, one tuple a row."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt, and how answers to it are rewarded."""

    prompt: tuple[int, ...]
    reward: Callable[[Sequence[tuple[int, ...]]], Sequence[float]]
    """From the tokens of its answers to what each is worth."""


@dataclass(frozen=True, slots=True)
class Group:
    """The answers sampled for one prompt."""

    rows: tuple[Row, ...]
    gains: tuple[float, ...]
    """How many deviations each one's reward lies above the group's mean."""
    total: int
    """Tokens of all answers of the step, of groups left out too."""
    old: Logs = ()
    """Under the model that sampled them, where it has been updated since; empty where it has not."""
    reference: Logs = ()
    """Under the model that training began with; empty where the loss does not ask for it."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How groups are drawn and learnt from."""

    count: int
    """Answers to a prompt."""
    max_length: int
    """Tokens an answer may have."""
    clip: float
    """How far a token's probability may move from that it was sampled with before its gradient is cut, as a share."""
    beta: float
    """Weight of the divergence from the model that training began with; 0 computes none."""
    updates: int
    """Updates made on the same answers."""
    seed: int
    tokens: int
    """Nodes a pass without a gradient may hold."""


def grpo(
    loaded: Loaded, how: Sampling, told: Callable[[int, list[float]], None], say: out_of_memory.Say = lambda text: None
) -> tuple[Loss, Items]:
    """The loss, and the step's groups as they are drawn. `told` hears of each new step and its rewards.

    `say` is told where memory runs out while answers are drawn, and fewer are drawn at once. What is drawn hangs on the
    weights, the seed and the step alone, so that a killed run goes on as it would have.
    """
    if processes.shards():
        raise RungError(
            "answers are drawn from weights that one process has whole, and FSDP spreads them.",
            remedy="Choose no sharding in the configuration of accelerate.",
        )
    engine = CausalEngine(loaded, say)
    budget = out_of_memory.Budget(how.tokens, say)
    last: list[Group] = []

    def ready(asked: Sequence[Asked], step: int) -> Sequence[Group]:
        if step % how.updates == 0:
            engine.forget()  # the weights have moved since
            decoding = Decoding(max_new_tokens=how.max_length, temperature=1.0, seed=how.seed * 1_000_003 + step)
            drawn = engine.samples([one.prompt for one in asked], how.count, decoding)
            rewards = [list(one.reward(answers)) for one, answers in zip(asked, drawn)]
            told(step, [value for group in rewards for value in group])
            last[:] = _groups(loaded, asked, drawn, rewards, how, budget)
        return list(last)

    def loss(model: Any, groups: Sequence[Group], trees: bool) -> torch.Tensor:
        now, owner = row_logs(model, [row for group in groups for row in group.rows], trees)
        gain = torch.tensor([gain for group in groups for gain in group.gains]).to(now)[owner]
        ratio = torch.exp(now - (_flat([group.old for group in groups], now) if groups[0].old else now.detach()))
        each = -torch.min(ratio * gain, ratio.clamp(1 - how.clip, 1 + how.clip) * gain)
        if how.beta:
            away = _flat([group.reference for group in groups], now) - now
            # times the ratio: else the gradient is not that of the divergence (https://arxiv.org/abs/2512.02556)
            each = each + how.beta * ratio * (torch.exp(away) - away - 1)
        return each.sum()

    return loss, Items(rows=_rows, weight=lambda groups: groups[0].total, ready=ready)


def gains(rewards: Sequence[float]) -> tuple[float, ...]:
    """Each reward's distance from the mean, in standard deviations (of n - 1, as TRL has them)."""
    mean, spread = statistics.fmean(rewards), statistics.stdev(rewards)
    return tuple((reward - mean) / (spread + 1e-4) for reward in rewards)


def _rows(item: Any) -> tuple[Row, ...]:
    return item.rows if isinstance(item, Group) else ()


def _groups(
    loaded: Loaded, asked: Sequence[Asked], drawn: Sequence, rewards: Sequence, how: Sampling, budget: out_of_memory.Budget
) -> list[Group]:
    """Groups to learn from. One whose answers are all worth the same teaches nothing but closeness to the reference."""
    total = sum(len(answer) for answers in drawn for answer in answers)
    groups = []
    for one, answers, worth in zip(asked, drawn, rewards):
        marks = [(False,) * len(one.prompt) + (True,) * len(answer) for answer in answers]
        rows = tuple(Row(one.prompt + answer, mark) for answer, mark in zip(answers, marks))
        groups.append(Group(rows, gains(worth), total))
    kept = [group for group in groups if how.beta or any(group.gains)] or groups[:1]
    old = _known(loaded.model, loaded, kept, budget) if how.updates > 1 else [()] * len(kept)
    reference: Sequence[Logs] = [()] * len(kept)
    if how.beta:
        with loaded.model.disable_adapter():
            reference = _known(loaded.model, loaded, kept, budget)
    return [Group(group.rows, group.gains, total, *both) for group, *both in zip(kept, old, reference)]


@torch.no_grad()
def _known(model: Any, loaded: Loaded, groups: Sequence[Group], budget: out_of_memory.Budget) -> list[Logs]:
    """Log-probabilities of the answers' tokens by the model as it is."""
    found: list[Logs] = [()] * len(groups)

    def read(part: list[int]) -> list[list[float]]:
        rows = [row for i in part for row in groups[i].rows]
        logs = row_logs(model, rows, loaded.trees)[0]
        return [own.tolist() for own in logs.split([sum(row.targets) for row in rows])]

    cut = partial(tree.cut_groups, [group.rows for group in groups])
    for part, logs in out_of_memory.in_parts(range(len(groups)), budget, cut, read):
        each = iter(logs)
        for i in part:
            found[i] = tuple(tuple(next(each)) for _ in groups[i].rows)
    return found


def _flat(known: Sequence[Logs], like: torch.Tensor) -> torch.Tensor:
    return torch.tensor([log for logs in known for row in logs for log in row]).to(like)
