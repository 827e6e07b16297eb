"""Losses over pairs of answers and over votes. A pair is one item of a step, so that its two answers share their question.

Sums over the items of a part, to be divided by `len` of the step; the tests hold them and their gradients to TRL's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import logsigmoid

from rung import files
from rung.errors import BudgetError
from rung.lm import out_of_memory
from rung.lm.models.load import Loaded
from rung.lm.training.train import Items, Loss
from rung.lm.trees import tree
from rung.lm.trees.forward import answer_logs, row_logs
from rung.lm.trees.tree import Row

Tell = Callable[[int, int], None]
"""Told rows done and rows in all."""


@dataclass(frozen=True, slots=True)
class Pair:
    """The better and the worse answer to one question."""

    chosen: Row
    rejected: Row
    reference: tuple[float, float] = (0.0, 0.0)
    """Log-probability of the two under the model that training began with."""

    @property
    def rows(self) -> tuple[Row, Row]:
        return self.chosen, self.rejected

    compared = rows
    """The rows that `reference` is about."""


@dataclass(frozen=True, slots=True)
class Vote:
    """One answer that was found good or bad."""

    row: Row
    good: bool
    other: Row
    """The same question with the answer to another: such answers show how far the model as a whole has moved."""
    reference: tuple[float, float] = (0.0, 0.0)
    """Log-probability of `row` and of `other` under the model that training began with."""
    moved: float = 0.0
    """The step's estimate of the divergence from that model."""

    @property
    def rows(self) -> tuple[Row]:
        return (self.row,)

    @property
    def compared(self) -> tuple[Row, Row]:
        """The rows that `reference` is about."""
        return self.row, self.other


@dataclass(frozen=True, slots=True)
class PairWithQuestion:
    """A pair whose better answer is also learnt by heart, its question included."""

    chosen: Row
    rejected: Row
    whole: Row

    @property
    def rows(self) -> tuple[Row, Row, Row]:
        return self.chosen, self.rejected, self.whole


def pairs(**options: Any) -> Items:
    """How a step of pairs, votes or `PairWithQuestion` is made of rows."""
    return Items(rows=lambda item: item.rows, weight=len, **options)


def dpo(beta: float) -> tuple[Loss, Items]:
    """Direct preference optimisation, the logistic loss of the margin over the reference. https://arxiv.org/abs/2305.18290"""

    def loss(model: Any, items: Sequence[Pair], trees: bool) -> torch.Tensor:
        logs = _by_item(model, items, trees)
        moved = logs - torch.tensor([pair.reference for pair in items]).to(logs)
        return -logsigmoid(beta * (moved[:, 0] - moved[:, 1])).sum()

    return loss, pairs()


def simpo(beta: float, gamma: float) -> tuple[Loss, Items]:
    """SimPO: mean log-probability a token, no reference, a margin to reach. https://arxiv.org/abs/2405.14734"""

    def loss(model: Any, items: Sequence[Pair], trees: bool) -> torch.Tensor:
        logs = _by_item(model, items, trees)
        means = logs / torch.tensor([[sum(row.targets) for row in pair.rows] for pair in items]).to(logs)
        return -logsigmoid(beta * (means[:, 0] - means[:, 1]) - gamma).sum()

    return loss, pairs()


def orpo(beta: float) -> tuple[Loss, Items]:
    """ORPO: the better answer is learnt, and its odds against the worse are raised. https://arxiv.org/abs/2403.07691

    As the authors' own code and TRL do it, the question is learnt with the answer.
    """

    def ready(items: Sequence[PairWithQuestion], step: int) -> list[PairWithQuestion]:
        """The weight that makes the summed loss of all learnt tokens of the step their mean, once divided by `len`."""
        each = len(items) / sum(sum(told.whole.targets) for told in items)
        return [replace(told, whole=replace(told.whole, weight=each)) for told in items]

    def loss(model: Any, items: Sequence[PairWithQuestion], trees: bool) -> torch.Tensor:
        rows = [row for told in items for row in told.rows]
        found, owner = row_logs(model, rows, trees)
        sums = found.new_zeros(len(rows)).index_add(0, owner, found).view(-1, 3)
        lengths = torch.tensor([sum(row.targets) for row in rows]).to(sums).view(-1, 3)
        better, worse = (sums / lengths)[:, :2].T
        odds = (better - worse) - (_log1mexp(better) - _log1mexp(worse))
        weights = torch.tensor([told.whole.weight for told in items]).to(sums)
        return -(sums[:, 2] * weights).sum() - beta * logsigmoid(odds).sum()

    return loss, pairs(ready=ready)


def kto(beta: float, good: float, bad: float, loaded: Loaded, tokens: int = 2048) -> tuple[Loss, Items]:
    """KTO: each answer's gain over the reference against that of the model as a whole. https://arxiv.org/abs/2402.01306

    `good` and `bad` weigh the two kinds of votes. The divergence is estimated from each step's mismatched answers, by
    the model as it is then, without a gradient and at most `tokens` at once, and never below 0.
    """

    def ready(votes: Sequence[Vote], step: int) -> list[Vote]:
        now = logs(loaded, [vote.other for vote in votes], tokens)
        moved = sum(log - vote.reference[1] for log, vote in zip(now, votes)) / len(votes)
        return [replace(vote, moved=max(0.0, moved)) for vote in votes]

    def loss(model: Any, votes: Sequence[Vote], trees: bool) -> torch.Tensor:
        found = answer_logs(model, [vote.row for vote in votes], trees)
        gain = found - torch.tensor([vote.reference[0] + vote.moved for vote in votes]).to(found)
        sign = torch.tensor([1.0 if vote.good else -1.0 for vote in votes]).to(found)
        weight = torch.tensor([good if vote.good else bad for vote in votes]).to(found)
        return (weight * (1 - torch.sigmoid(beta * sign * gain))).sum()

    return loss, pairs(ready=ready)


def pair_with_question(chosen: Row, rejected: Row) -> PairWithQuestion:
    """A pair with the row that is learnt by heart."""
    return PairWithQuestion(chosen, rejected, Row(chosen.tokens, (False, *(True,) * (len(chosen.tokens) - 1))))


def votes(marked: Sequence[tuple[Row, bool]], room: int) -> list[Vote]:
    """Answers with their marks, each question joined with the answer before it; the first with the last.

    A joined answer is cut at `room`, the longest row that the model takes: nothing is learnt from it.
    """
    made = []
    for (row, good), (before, _) in zip(marked, [*marked[-1:], *marked[:-1]]):
        asked, answer = row.targets.index(True), before.targets.index(True)
        tail = before.tokens[answer:][: room - asked]
        made.append(Vote(row, good, Row(row.tokens[:asked] + tail, (False,) * asked + (True,) * len(tail))))
    return made


def balance(judged: Sequence[Vote]) -> tuple[float, float]:
    """Weights of good and bad votes by which both kinds count alike in all; the larger kind's is 1 (paper, section 4.2)."""
    good = sum(vote.good for vote in judged)
    bad = len(judged) - good
    return (max(1.0, bad / good), max(1.0, good / bad)) if good and bad else (1.0, 1.0)


def referred(items: Sequence[Any], known: Mapping[Row, float]) -> list[Any]:
    """Pairs or votes with what is known of the rows that they are compared by."""
    return [replace(item, reference=tuple(known[row] for row in item.compared)) for item in items]


@torch.no_grad()
def logs(
    loaded: Loaded,
    rows: Sequence[Row],
    tokens: int = 2048,
    tell: Tell = lambda done, total: None,
    until: float = float("inf"),
    of: Callable[[Any, Sequence[Row], bool], torch.Tensor] = answer_logs,
    say: out_of_memory.Say = lambda text: None,
) -> list[float]:
    """Log-probability of each row's targets together (or what else `of` says), in the order of the rows.

    BudgetError once `until` has passed. `say` is told where memory runs out and less is computed at once.
    """
    found, done = [0.0] * len(rows), 0

    def read(part: list[int]) -> list[float]:
        if time.monotonic() > until:
            raise BudgetError(
                f"scoring answers was stopped after {done} of {len(rows)}: the time budget is used up.",
                remedy="Raise budget.minutes in rung.yaml.",
            )
        return of(loaded.model, [rows[i] for i in part], loaded.trees).tolist()

    order = sorted(range(len(rows)), key=lambda i: rows[i].tokens)
    for part, values in out_of_memory.in_parts(order, out_of_memory.Budget(tokens, say), partial(tree.cut, rows), read):
        for i, value in zip(part, values):
            found[i] = value
        done += len(part)
        tell(done, len(rows))
    return found


def kept(path: Path, compute: Callable[[], list[float]]) -> list[float]:
    """Numbers computed once and read from `path` after that, so that a killed run does not compute them again."""
    from safetensors.torch import load_file, save_file

    if not path.exists():
        logs = torch.tensor(compute(), dtype=torch.float64)
        with files.whole(path) as part:
            save_file({"logs": logs}, part)
    return load_file(path)["logs"].tolist()


def _by_item(model: Any, items: Sequence[Pair], trees: bool) -> torch.Tensor:
    """Log-probabilities of the better and the worse answers; (pairs, 2)."""
    return answer_logs(model, [row for pair in items for row in pair.rows], trees).view(-1, 2)


def _log1mexp(x: torch.Tensor) -> torch.Tensor:
    """log(1 - exp(x)) for x < 0, without cancellation on either side of -log 2.

    Each side is kept from the other's numbers and from 0: a gradient that is not a number stays one through `where`.
    """
    edge = -0.6931471805599453
    near, far = x.clamp(min=edge, max=-1e-7), x.clamp(max=edge)
    return torch.where(x > edge, torch.log(-torch.expm1(near)), torch.log1p(-torch.exp(far)))
