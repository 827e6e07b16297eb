"""How far two people agree on the same rows: Cohen's kappa, and the score of one person's answers against the other's.

A goal above that score asks a model to agree with one person better than a second person does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rung import metrics
from rung.data import journal
from rung.data.finding import Finding, first_places
from rung.data.journal import Entry
from rung.data.spelling import key
from rung.task import Task
from rung.types import UNKNOWN, Example, Interval, Prediction

MIN_PAIRS = 10
"""With fewer rows labelled twice nothing is said about the goal."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two people's answers to the same rows."""

    pairs: tuple[Entry, ...]
    """Rows labelled twice: `first` and `output` are the two answers."""
    kappa: Interval | None
    """Agreement beyond chance, -1 to 1. None where answers are free text, which no two people write alike."""
    score: Interval | None
    """The second answers scored by the goal's metric against the first. None if a judge or a function of the team's scores."""
    metric: str
    differing: tuple[Entry, ...]
    """The rows whose answers differ."""


def agreement(task: Task) -> Agreement | None:
    """Agreement over all rows of the task that were labelled twice; None if none was. DataError for a damaged journal."""
    entries = [entry for path in journal.journals(task) for entry in journal.standing(journal.read(path))]
    return compare([entry for entry in entries if entry.did == "second"], task)


def compare(pairs: Sequence[Entry], task: Task) -> Agreement | None:
    """Agreement of the two answers of each entry; None without entries."""
    if not pairs:
        return None
    rated = _rated(pairs, task)
    return Agreement(
        tuple(pairs),
        _kappa(pairs) if task.kind == "classify" else None,
        rated[0] if rated else None,
        task.goal.metric,
        tuple(pair for i, pair in enumerate(pairs) if (rated[1][i] < 1 if rated else not _same(pair))),
    )


def _same(pair: Entry) -> bool:
    return key(pair.first) == key(pair.output)


def _kappa(pairs: Sequence[Entry]) -> Interval:
    """Cohen (1960), Educational and Psychological Measurement 20:37, with a bootstrap interval over the rows."""
    from rung.metrics.agreement import kappa

    first, second = [key(pair.first) for pair in pairs], [key(pair.output) for pair in pairs]
    return kappa(first, second, sorted({*first, *second}))


def _rated(pairs: Sequence[Entry], task: Task) -> tuple[Interval, tuple[float, ...]] | None:
    """The second answers scored against the first, and each row's score."""
    metric = metrics.find(task.goal.metric, task.folder)
    if metric is None or metric.score_many:
        return None
    rows = [Example(f"{i}\n{pair.input}", pair.first) for i, pair in enumerate(pairs)]
    said = [
        Prediction(row.id, "" if pair.output == UNKNOWN and metric.abstains else pair.output)
        for row, pair in zip(rows, pairs, strict=True)
    ]
    scores = metrics.score(metric, rows, said, "dev", kind=task.kind)
    return scores.overall, scores.per_row


def findings(task: Task) -> Iterator[Finding]:
    """Whether the goal is above what two people agree on, for `rung check`."""
    found = agreement(task)
    if not found or not found.score or len(found.pairs) < MIN_PAIRS:
        return
    goal, score = task.goal.at_least, found.score
    beyond = f"; kappa {found.kappa}" if found.kappa else ""
    seen = f"two people agree at {found.metric} {score}{beyond}"
    places = first_places(pair.where for pair in found.differing if pair.where)
    if score.high < goal:
        yield Finding(
            "goal-above-agreement",
            "warn",
            f"the goal of {goal:g} is above what two people agree on: {seen}. A model cannot be shown to be right more often"
            " than the labels are.",
            "Settle the rows that they differ on, write down the rule, and label again; or reduce goal.at_least.",
            places,
            len(found.differing),
        )
    else:
        yield Finding("agreement", "note", f"{seen}.", "", places, len(found.differing))
