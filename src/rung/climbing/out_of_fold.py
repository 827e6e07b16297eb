"""Train rows answered as new ones: by fits on the other rows, or at once where a rung learns nothing from their answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rung import metrics
from rung.climbing.fit import Progress, fit, fit_context
from rung.climbing.project import Project
from rung.data.split import question
from rung.evaluate.predict import answer
from rung.methods.chain import folds, most_asked
from rung.planning.steps import Step
from rung.predictor import Predictor
from rung.types import Example, Prediction, digest


@dataclass(frozen=True, slots=True)
class TrainAnswers:
    """Answers to train rows, as a rung would give them to new ones."""

    predictions: tuple[Prediction, ...]
    """Without those that failed for a reason outside the model."""
    scores: tuple[float, ...]
    folds: int
    """0 where the rung itself answered."""
    seconds: float
    """Wall clock of fitting and answering, also where that was done before."""
    usd: float
    """What endpoints asked for it."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A rung fitted on all of train."""

    step: Step
    predictor: Predictor
    notes: Sequence[dict[str, Any]]
    """Of each fit, as `rung.climbing.fit.fit` returns them."""


def train_answers(project: Project, rung: Fitted, until: float, progress: Progress) -> TrainAnswers:
    """Answer train rows as new ones. Fits and answers are stored and reused. BudgetError after `until`, a `time.monotonic()`."""
    step, predictor = rung.step, rung.predictor
    parts, rows = folds(step.methods), project.inputs.data.examples
    if parts:
        asked, seconds, usd = _by_folds(project, rung, parts, until, progress)
    else:
        shown, seconds, usd = {row.id for row in predictor.demos.fixed}, 0.0, 0.0
        asked = [(predictor, drawn([row for row in rows if row.id not in shown], most_asked(step.methods)))]
    found: list[tuple[Example, Prediction]] = []
    for one, some in asked:
        found += zip(some, answer(one, some, project.store, project.engines, progress, until) if some else ())
    answers = [one for _, one in found]
    if tariff := project.engines.price(predictor.model):
        usd += tariff.usd(*(sum(getattr(one, part) for one in answers) for part in ("tokens_in", "tokens_out", "tokens_cached")))
    seconds += sum(one.seconds for one in answers)
    kept = [(row, one) for row, one in found if not one.failed]
    return TrainAnswers(tuple(one for _, one in kept), _scores(project, kept), parts, seconds, usd)


Folds = list[tuple[Predictor, list[Example]]]


def _by_folds(project: Project, rung: Fitted, parts: int, until: float, progress: Progress) -> tuple[Folds, float, float]:
    """Each part's fit on the other rows, with the rows that it is to answer; the seconds and dollars of all fits."""
    step, notes = rung.step, list[dict[str, Any]]()
    context = fit_context(project, step.base.start)
    chain = [method.again(note.get("notes", {})) for method, note in zip(step.methods, rung.notes)]
    found: Folds = []
    for number, held in enumerate(divided(context.data.examples, parts), 1):
        left = {row.id for row in held}
        rest = tuple(row for row in context.data.examples if row.id not in left)
        other = replace(context, data=replace(context.data, examples=rest))

        def shown(text: str, share: float, number: int = number) -> None:
            progress(f"choosing a threshold, part {number} of {parts}: {text}", share)

        fitted, noted = fit(other, chain, until, shown)
        notes += noted
        found.append((fitted, drawn(held, most_asked(step.methods) // parts)))
    return found, sum(note["seconds"] for note in notes), sum(note.get("usd", 0.0) for note in notes)


def divided(rows: Sequence[Example], parts: int) -> list[list[Example]]:
    """Rows in parts of about equal size, each with its share of every right answer. Rows of a group, or of one question, stay
    together; which part they are in follows from their content."""
    units: dict[str, list[Example]] = {}
    for row in rows:
        units.setdefault(row.group or question(row), []).append(row)
    ordered = sorted(units.items(), key=lambda unit: (unit[1][0].output, digest(["fold", unit[0]])))
    out: list[list[Example]] = [[] for _ in range(parts)]
    for number, (_, some) in enumerate(ordered):
        out[number % parts] += some
    return out


def drawn(rows: Sequence[Example], count: int) -> list[Example]:
    """So many of the rows at most, by a hash of their content."""
    return sorted(rows, key=lambda row: digest(["asked", row.id]))[:count]


def _scores(project: Project, found: Sequence[tuple[Example, Prediction]]) -> tuple[float, ...]:
    """The goal's metric row by row; for a metric of the whole, whether each row is right."""
    if not found:
        return ()
    rows, answers = zip(*found)
    return metrics.score(project.scoring.metric(), rows, answers, "train", kind=project.task.kind).per_row
