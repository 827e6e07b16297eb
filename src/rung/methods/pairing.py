"""What the methods that learn from pairs of answers share: token rows, scores, the cost estimate, and what is measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from rung.data.preferences import as_example, split_holdout
from rung.errors import DataError
from rung.methods import tuning
from rung.methods.base import Run
from rung.methods.estimate import CostEstimate
from rung.methods.facts import Facts
from rung.predictor import Predictor
from rung.types import Interval, Preference

if TYPE_CHECKING:
    from rung.lm.models.load import Loaded
    from rung.lm.trees.tree import Row
    from rung.machine import Machine

Two = tuple[Any, Any]
"""The rows of the better and of the worse answer; None for the one that a single vote lacks."""
Some = tuple[Preference, ...]


def pair_training_estimate(
    start: CostEstimate, facts: Facts, machine: Machine, load: tuning.TrainingLoad, reads: float
) -> CostEstimate:
    """The estimate with training on pairs, and `reads` forward passes over them, added."""
    found = tuning.training_estimate(start, replace(facts, train_rows=0), machine, load, facts.pair_tokens)
    tree = round(facts.pairs * facts.pair_tokens + facts.shared_tokens * facts.pairs / load.batch)
    training = machine.training_seconds(facts.parameters, load.trained, tree, load.epochs, frozen=load.freezes)
    reading = machine.prefill_seconds(facts.parameters, round(reads * tree))
    looking = load.checks * tuning.HELD * machine.prefill_seconds(facts.parameters, tree)
    return replace(found, fit_seconds=found.fit_seconds + training + reading + looking)


def rows(loaded: Loaded, start: Predictor, preferences: Sequence[Preference], run: Run, votes: bool = False) -> list[Two]:
    """Each preference's answers after its question, as `start` would ask it. Single votes are refused unless `votes`."""
    prompts = start.prompts([as_example(one) for one in preferences], run.engines)
    made = []
    for prompt, one in zip(prompts, preferences):
        if not (votes or (one.chosen and one.rejected)):
            raise DataError(
                "this row is a vote on one answer, but this method compares two answers.",
                where=one.where,
                remedy="Give pairs (prompt, chosen, rejected), or use a method that learns from votes: kto.",
            )
        better, worse = (loaded.chat.row(prompt.messages, text) if text else None for text in (one.chosen, one.rejected))
        longest = max(len(row.tokens) for row in (better, worse) if row)
        if longest > loaded.max_length:
            raise DataError(
                f"the question and its answer are {longest} tokens long, and the model reads {loaded.max_length}.",
                where=one.where,
                remedy="Shorten or delete the row: cut short, it would teach not to end.",
            )
        made.append((better, worse))
    return made


def held_back(learnt: Some, patience: int, run: Run) -> tuple[Some, Some]:
    """Preferences to learn from and, with `patience`, pairs to choose the epoch by. Reports if there are none."""
    if not patience:
        return learnt, ()
    rest, held = split_holdout(learnt, tuning.HELD, run.seed + 1)
    pairs = tuple(one for one in held if one.chosen and one.rejected)
    if rest and pairs:
        return rest, pairs
    tuning.watch(run).say("patience has no effect: too few questions with pairs to hold any back to choose the epoch by")
    return learnt, ()


def logs(loaded: Loaded, rows: Sequence[Row], tokens: int, run: Run) -> list[float]:
    """Log-probability of each row's answer under the present model, with progress and the deadline."""
    from rung.lm.training import preferences

    def tell(done: int, total: int) -> None:
        run.progress(f"scoring answers, {done} of {total}", done / total)

    return preferences.score_rows(loaded, rows, tokens, tell, run.deadline, say=tuning.watch(run).say)


def change(loaded: Loaded, shown: Sequence[Two], known: Mapping[Row, float], tokens: int, run: Run) -> dict[str, Any]:
    """How held-out pairs are ranked before (`known`) and after training; for the record."""
    from rung.metrics import pairs

    flat = list(dict.fromkeys(row for two in shown for row in two))
    now = dict(zip(flat, logs(loaded, flat, tokens, run), strict=True))
    before, after = ([(of[better], of[worse]) for better, worse in shown] for of in (known, now))
    return {name: asdict(found) for name, found in pairs.change(before, after, questions(shown)).items()}


def score(shown: Sequence[Two], scores: Callable[[Sequence[Row]], Sequence[float]]) -> Callable[[], float]:
    """Share of pairs whose better answer the model in training scores higher; ties count half.

    The deadline is not checked here: training stops before its next step, after a checkpoint.
    """
    from rung.metrics import pairs

    flat = [row for two in shown for row in two]

    def found() -> float:
        now = scores(flat)
        return sum(pairs.ranked(list(zip(now[::2], now[1::2])))) / len(shown)

    return found


def ranking_accuracy(loaded: Loaded, shown: Sequence[Two], tokens: int, run: Run) -> Interval:
    """Share of held-out pairs whose better answer the reward model scores higher."""
    from rung.lm.training import preferences, rewards
    from rung.metrics import pairs

    rows = [row for two in shown for row in two]
    found = preferences.score_rows(loaded, rows, tokens, deadline=run.deadline, of=rewards.row_rewards)
    return pairs.accuracy(list(zip(found[::2], found[1::2])), questions(shown))


def questions(shown: Sequence[Two]) -> list[tuple[int, ...]]:
    """The prompt of each pair: pairs of one question form a cluster in the interval."""
    return [better.tokens[: better.targets.index(True)] for better, _ in shown]
