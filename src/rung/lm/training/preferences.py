"""Losses over preference pairs and votes. A pair is one item of a step, so that its two answers share their question.

Each is a sum over the items of a part, to be divided by the step's `len`; the tests compare losses and gradients with TRL's.
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
from rung.lm.trees.forward import answer_logprobs, row_logprobs
from rung.lm.trees.tree import Row

RowProgress = Callable[[int, int], None]
"""Called with the number of rows done and of all rows."""


@dataclass(frozen=True, slots=True)
class Pair:
    """The better and the worse answer to one question."""

    chosen: Row
    rejected: Row
    reference: tuple[float, float] = (0.0, 0.0)
    """Log-probability of the two under the reference model (the one before training)."""

    @property
    def rows(self) -> tuple[Row, Row]:
        return self.chosen, self.rejected

    reference_rows = rows
    """The rows whose log-probabilities are `reference`."""


@dataclass(frozen=True, slots=True)
class Vote:
    """One answer rated good or bad."""

    row: Row
    good: bool
    mismatched: Row
    """The same question with another question's answer, to estimate the KL divergence from the reference model."""
    reference: tuple[float, float] = (0.0, 0.0)
    """Log-probability of `row` and of `mismatched` under the reference model."""
    kl: float = 0.0
    """The step's estimate of the KL divergence from the reference model."""

    @property
    def rows(self) -> tuple[Row]:
        return (self.row,)

    @property
    def reference_rows(self) -> tuple[Row, Row]:
        """The rows whose log-probabilities are `reference`."""
        return self.row, self.mismatched


@dataclass(frozen=True, slots=True)
class PairWithQuestion:
    """A pair whose better answer is also trained on with the SFT loss, its question included."""

    chosen: Row
    rejected: Row
    whole: Row

    @property
    def rows(self) -> tuple[Row, Row, Row]:
        return self.chosen, self.rejected, self.whole


def pairs(**options: Any) -> Items:
    """Step items for pairs, votes or `PairWithQuestion`."""
    return Items(rows=lambda item: item.rows, weight=len, **options)


def dpo(beta: float) -> tuple[Loss, Items]:
    """Direct preference optimization: logistic loss of the margin over the reference. https://arxiv.org/abs/2305.18290"""

    def loss(model: Any, items: Sequence[Pair], trees: bool) -> torch.Tensor:
        logs = _by_item(model, items, trees)
        moved = logs - torch.tensor([pair.reference for pair in items]).to(logs)
        return -logsigmoid(beta * (moved[:, 0] - moved[:, 1])).sum()

    return loss, pairs()


def simpo(beta: float, gamma: float) -> tuple[Loss, Items]:
    """SimPO: mean log-probability per token, a target margin, no reference. https://arxiv.org/abs/2405.14734"""

    def loss(model: Any, items: Sequence[Pair], trees: bool) -> torch.Tensor:
        logs = _by_item(model, items, trees)
        means = logs / torch.tensor([[sum(row.targets) for row in pair.rows] for pair in items]).to(logs)
        return -logsigmoid(beta * (means[:, 0] - means[:, 1]) - gamma).sum()

    return loss, pairs()


def orpo(beta: float) -> tuple[Loss, Items]:
    """ORPO: SFT loss on the better answer, plus its odds ratio to the worse. https://arxiv.org/abs/2403.07691

    As in the authors' code and TRL, the SFT loss includes the question.
    """

    def prepare(items: Sequence[PairWithQuestion], step: int) -> list[PairWithQuestion]:
        """Weights with which the summed SFT loss of the step, divided by its `len`, is the mean over tokens."""
        each = len(items) / sum(sum(pair.whole.targets) for pair in items)
        return [replace(pair, whole=replace(pair.whole, weight=each)) for pair in items]

    def loss(model: Any, items: Sequence[PairWithQuestion], trees: bool) -> torch.Tensor:
        rows = [row for pair in items for row in pair.rows]
        logprobs, owner = row_logprobs(model, rows, trees)
        sums = logprobs.new_zeros(len(rows)).index_add(0, owner, logprobs).view(-1, 3)
        lengths = torch.tensor([sum(row.targets) for row in rows]).to(sums).view(-1, 3)
        better, worse = (sums / lengths)[:, :2].T
        odds = (better - worse) - (_log1mexp(better) - _log1mexp(worse))
        weights = torch.tensor([pair.whole.weight for pair in items]).to(sums)
        return -(sums[:, 2] * weights).sum() - beta * logsigmoid(odds).sum()

    return loss, pairs(prepare=prepare)


def kto(beta: float, good: float, bad: float, loaded: Loaded, tokens: int = 2048) -> tuple[Loss, Items]:
    """KTO: each answer's log-ratio to the reference, compared with the KL divergence of the model. https://arxiv.org/abs/2402.01306

    `good` and `bad` weight the two kinds of votes. The KL divergence is estimated before each step from its mismatched
    answers, without gradients, in passes of at most `tokens`, and is at least 0.
    """

    def prepare(votes: Sequence[Vote], step: int) -> list[Vote]:
        now = score_rows(loaded, [vote.mismatched for vote in votes], tokens)
        kl = sum(log - vote.reference[1] for log, vote in zip(now, votes)) / len(votes)
        return [replace(vote, kl=max(0.0, kl)) for vote in votes]

    def loss(model: Any, votes: Sequence[Vote], trees: bool) -> torch.Tensor:
        logprobs = answer_logprobs(model, [vote.row for vote in votes], trees)
        gain = logprobs - torch.tensor([vote.reference[0] + vote.kl for vote in votes]).to(logprobs)
        sign = torch.tensor([1.0 if vote.good else -1.0 for vote in votes]).to(logprobs)
        weight = torch.tensor([good if vote.good else bad for vote in votes]).to(logprobs)
        return (weight * (1 - torch.sigmoid(beta * sign * gain))).sum()

    return loss, pairs(prepare=prepare)


def pair_with_question(chosen: Row, rejected: Row) -> PairWithQuestion:
    """A pair with the row of its SFT loss."""
    return PairWithQuestion(chosen, rejected, Row(chosen.tokens, (False, *(True,) * (len(chosen.tokens) - 1))))


def votes(rated: Sequence[tuple[Row, bool]], max_length: int) -> list[Vote]:
    """Votes from answers with their ratings. A question's mismatched answer is the previous row's (the first row: the last).

    Mismatched rows are truncated to `max_length`: they are not trained on.
    """
    out = []
    for (row, good), (before, _) in zip(rated, [*rated[-1:], *rated[:-1]]):
        question, answer = row.targets.index(True), before.targets.index(True)
        tail = before.tokens[answer:][: max_length - question]
        out.append(Vote(row, good, Row(row.tokens[:question] + tail, (False,) * question + (True,) * len(tail))))
    return out


def balance(rated: Sequence[Vote]) -> tuple[float, float]:
    """Weights of good and bad votes that balance the two kinds; the larger kind's is 1 (paper, section 4.2)."""
    good = sum(vote.good for vote in rated)
    bad = len(rated) - good
    return (max(1.0, bad / good), max(1.0, good / bad)) if good and bad else (1.0, 1.0)


def with_reference(items: Sequence[Any], logprobs: Mapping[Row, float]) -> list[Any]:
    """Pairs or votes with the reference log-probabilities of their rows."""
    return [replace(item, reference=tuple(logprobs[row] for row in item.reference_rows)) for item in items]


@torch.no_grad()
def score_rows(
    loaded: Loaded,
    rows: Sequence[Row],
    tokens: int = 2048,
    progress: RowProgress = lambda done, total: None,
    deadline: float = float("inf"),
    of: Callable[[Any, Sequence[Row], bool], torch.Tensor] = answer_logprobs,
    say: out_of_memory.Say = lambda text: None,
) -> list[float]:
    """Summed log-probability of each row's targets, or what `of` computes instead, in the order of the rows.

    BudgetError after `deadline` (`time.monotonic()`). `say` reports when memory runs out; later passes are then smaller.
    """
    out, done = [0.0] * len(rows), 0

    def score(part: list[int]) -> list[float]:
        if time.monotonic() > deadline:
            raise BudgetError(
                f"scoring answers was stopped after {done} of {len(rows)}: the time budget is used up.",
                remedy="Raise budget.minutes in rung.yaml.",
            )
        return of(loaded.model, [rows[i] for i in part], loaded.trees).tolist()

    order = sorted(range(len(rows)), key=lambda i: rows[i].tokens)
    budget = out_of_memory.Budget(tokens, say)
    for part, values in out_of_memory.run_in_parts(order, budget, partial(tree.split_rows, rows), score):
        for i, value in zip(part, values):
            out[i] = value
        done += len(part)
        progress(done, len(rows))
    return out


def cached(path: Path, compute: Callable[[], list[float]]) -> list[float]:
    """Numbers computed once and then read from `path`, so that a resumed run does not compute them again."""
    from safetensors.torch import load_file, save_file

    if not path.exists():
        logs = torch.tensor(compute(), dtype=torch.float64)
        with files.whole(path) as part:
            save_file({"logs": logs}, part)
    return load_file(path)["logs"].tolist()


def _by_item(model: Any, items: Sequence[Pair], trees: bool) -> torch.Tensor:
    """Log-probabilities of the better and the worse answers; (pairs, 2)."""
    return answer_logprobs(model, [row for pair in items for row in pair.rows], trees).view(-1, 2)


def _log1mexp(x: torch.Tensor) -> torch.Tensor:
    """log(1 - exp(x)) for x < 0, without cancellation on either side of -log 2.

    Each side is clamped away from the other's range and from 0: `where` does not mask a NaN gradient.
    """
    edge = -0.6931471805599453
    near, far = x.clamp(min=edge, max=-1e-7), x.clamp(max=edge)
    return torch.where(x > edge, torch.log(-torch.expm1(near)), torch.log1p(-torch.exp(far)))
