"""Which answers a rung gives where the goal has a coverage: a threshold on confidence, from train rows answered as new ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rung import metrics
from rung.climbing.cascading import new_answers
from rung.climbing.fit import Progress
from rung.climbing.out_of_fold import Fitted, TrainAnswers
from rung.climbing.project import Project
from rung.predictor import Predictor, Threshold, sure
from rung.selective import choosing
from rung.task.sections import Goal
from rung.types import Example, Prediction, Record, Scores, Selection, Split

VERSION = 1
"""Raised when the same answers would give another threshold."""


def selection(project: Project, rung: Fitted, until: float, progress: Progress) -> Selection | None:
    """Which answers the rung gives; None where the goal has no coverage, so that it gives all."""
    goal, splits = project.task.goal, project.inputs.splits
    if goal.coverage is None:
        return None
    return select(new_answers(project, rung, until, progress), goal, len(splits.dev) + len(splits.test))


def select(found: TrainAnswers, goal: Goal, held: int) -> Selection:
    """The threshold for these answers. `held`: held-out rows that are to prove the goal."""
    assert goal.coverage is not None, "a goal without coverage has every row answered"
    cost: dict[str, Any] = {"folds": found.folds, "rows": len(found.scores), "seconds": found.seconds, "usd": found.usd}
    rated = [(one.confidence, score) for one, score in zip(found.predictions, found.scores) if gives(one)]
    if not rated:
        return Selection(why="it gives no confidence, so no threshold can be chosen", **cost)
    if len(found.scores) < choosing.LEAST_ROWS:
        why = f"only {len(found.scores)} train rows could be asked, and a threshold needs {choosing.LEAST_ROWS}"
        return Selection(why=why, **cost)
    confidences, scores = [c for c, _ in rated if c is not None], [score for _, score in rated]
    slope, shift = choosing.calibration(confidences, scores)
    after = choosing.calibrated(confidences, slope, shift)
    open_rows = len(found.scores) - len(rated)
    asked = choosing.Asked.of([*after, *[float("-inf")] * open_rows], [*scores, *[0.0] * open_rows])
    answered = choosing.for_goal(asked, goal.at_least, goal.coverage, held)
    return Selection(
        at=asked.at(answered),
        slope=slope,
        shift=shift,
        score=float(asked.scores[:answered].mean()),
        coverage=answered / len(found.scores),
        auc=choosing.auc(confidences, scores),
        calibration_error=(choosing.calibration_error(confidences, scores), choosing.calibration_error(after, scores)),
        **cost,
    )


def selecting_on(project: Project) -> list[Any]:
    """What a selection depends on besides the rung, for keys; empty where every answer is given."""
    goal, inputs = project.task.goal, project.inputs
    if goal.coverage is None:
        return []
    held = len(inputs.splits.dev) + len(inputs.splits.test)
    return [VERSION, goal.at_least, goal.coverage, held, inputs.data.digest, project.task.seed]


def gives(one: Prediction) -> bool:
    """Whether a row has an answer with a confidence."""
    return one.confidence is not None and not (one.error or one.abstained)


def threshold(found: Selection | None) -> Threshold | None:
    """What a Predictor needs of a selection; None where it gives every answer."""
    return Threshold(found.at, found.slope, found.shift) if found and not found.why else None


def scored(
    project: Project, predictions: Sequence[Prediction], rows: Sequence[Example], split: Split, found: Selection | None
) -> Scores:
    """The scores of a rung's answers, with a coverage over those that it gives. `predictions`: before any threshold."""
    metric, kind = project.scoring.metric(), project.task.kind
    if found is None:
        return metrics.score(metric, rows, predictions, split, kind=kind)
    answered = [not sure.given(one, threshold(found)).abstained for one in predictions]
    scores = metrics.score(metric, rows, predictions, split, kind=kind, answered=answered)
    everything = metrics.score(metric, rows, predictions, split, kind=kind).overall
    return replace(scores, others={f"{metric.name} of all rows": everything, **scores.others})


def with_threshold(project: Project, predictor: Predictor) -> Predictor:
    """The Predictor as it answers askers: with the threshold that its last measurement under this goal chose."""
    if project.task.goal.coverage is None:
        return predictor
    measured = (one for one in reversed(project.store.records()) if one.predictor == predictor.digest and one.selection)
    record: Record | None = next(measured, None)
    return replace(predictor, threshold=threshold(record.selection)) if record else predictor
