"""Fitting any step of the plan: a rung, or a cascade, whose threshold comes from train rows that both answer as new ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rung.climbing.fit import Progress, fit, fit_context, fit_keys, named
from rung.climbing.out_of_fold import Fitted, TrainAnswers, train_answers
from rung.climbing.project import Project
from rung.errors import BudgetError
from rung.lm.base import ModelRef
from rung.planning.cascades import DEARER
from rung.planning.steps import Step
from rung.predictor import Cascade, Predictor, Threshold, sure
from rung.selective import choosing
from rung.types import Prediction, Record, digest

VERSION = 2
"""Raised when the same answers would give another cascade."""
LEAST_AREA = 0.7
"""Area under the curve of the cheap rung's confidence from which the usual cascade is tried."""


def step_keys(project: Project, step: Step) -> list[str]:
    """The keys of a step's fits; of a cascade those of both parts, and its own last."""
    if not step.parts:
        return fit_keys(fit_context(project, step.base.start), step.methods)
    keys = [step_keys(project, part) for part in step.parts]
    begun = [part.base.start.digest for part in step.parts]
    own = digest(["cascade", VERSION, keys, begun, project.inputs.data.digest, project.scoring.key, project.task.seed])
    return [*keys[0], *keys[1], own]


def missing_fits(project: Project, step: Step) -> list[str]:
    """Keys of a step's fits that are not in the store."""
    return [key for key in step_keys(project, step) if project.store.fitted(key) is None]


def fit_step(project: Project, step: Step, until: float, progress: Progress) -> Fitted:
    """Fit a step; what is stored is reused. BudgetError after `until`, a `time.monotonic()`."""
    if not step.parts:
        return Fitted(step, *fit(fit_context(project, step.base.start), step.methods, until, progress))
    parts = [fit_step(project, part, until, progress) for part in step.parts]
    key = step_keys(project, step)[-1]
    predictor = project.store.fitted(key)
    if predictor is None:
        with project.store.lease(f"fits/{key}", until):
            predictor = project.store.fitted(key) or _fit_cascade(project, parts, key, until, progress)
    notes = [*parts[0].notes, *parts[1].notes, project.store.fit_notes(key)]
    return Fitted(step, named(predictor, *project.starts.values()), notes)


def _fit_cascade(project: Project, parts: Sequence[Fitted], key: str, until: float, progress: Progress) -> Predictor:
    """Choose from which confidence on the first answers, and store the two as one Predictor."""
    answered = [train_answers(project, one, until, progress) for one in parts]
    first, second = _shared(*answered)
    cost = {"seconds": sum(one.seconds for one in answered), "usd": sum(one.usd for one in answered), "peak_memory_bytes": 0}
    cut, found = _cut(first, second)
    fitted = replace(parts[0].predictor, cascade=Cascade(cut, parts[1].predictor))
    project.store.workplace(key)
    return project.store.keep_fit(key, fitted, {**cost, "notes": found})


def _cut(first: TrainAnswers, second: TrainAnswers) -> tuple[Threshold, dict[str, Any]]:
    """The threshold of a cascade, and what is noted of it. Both have answered the same rows."""
    rows = len(first.scores)
    given = [i for i, one in enumerate(first.predictions) if one.confidence is not None and not one.error and not one.abstained]
    if rows < choosing.LEAST_ROWS or not given:
        why = "it gives no confidence" if rows and not given else f"both have answered only {rows} train rows"
        cut = Threshold(0.0) if rows >= choosing.LEAST_ROWS and _leaves(first) else Threshold(choosing.NEVER)
        return cut, {"rows": rows, "why": why}
    raw = [first.predictions[i].confidence or 0.0 for i in given]
    slope, shift = choosing.calibration(raw, [first.scores[i] for i in given])
    sure_of = dict(zip(given, choosing.calibrated(raw, slope, shift)))
    confidences = [float(sure_of.get(i, float("-inf"))) for i in range(rows)]
    answered, at = choosing.for_cascade(confidences, first.scores, second.scores)
    cut = Threshold(at, slope, shift)
    kept = [sure.is_sure(one, cut) for one in first.predictions]
    blend = [a if keep else b for keep, a, b in zip(kept, first.scores, second.scores)]
    return cut, {
        "rows": rows,
        "auc": choosing.auc(raw, [first.scores[i] for i in given]),
        "answers": answered / rows,
        "score": sum(blend) / rows,
        "score_of_each": [sum(one.scores) / rows for one in (first, second)],
        "at": at,
    }


def _leaves(found: TrainAnswers) -> bool:
    """Whether a rung without confidences leaves some rows open itself, so that all others may be given."""
    return any(one.abstained for one in found.predictions)


def _shared(first: TrainAnswers, second: TrainAnswers) -> tuple[TrainAnswers, TrainAnswers]:
    """Both on the rows that both have answered."""
    places = {one.id: i for i, one in enumerate(second.predictions)}
    left = [(i, places[one.id]) for i, one in enumerate(first.predictions) if one.id in places]
    return _only(first, [i for i, _ in left]), _only(second, [i for _, i in left])


def _only(found: TrainAnswers, rows: Sequence[int]) -> TrainAnswers:
    return replace(found, predictions=tuple(found.predictions[i] for i in rows), scores=tuple(found.scores[i] for i in rows))


def new_answers(project: Project, rung: Fitted, until: float, progress: Progress) -> TrainAnswers:
    """Train rows answered as new ones, by a rung or by a cascade from its parts' answers."""
    if not rung.step.parts:
        return train_answers(project, rung, until, progress)
    assert rung.predictor.cascade
    cut = rung.predictor.cascade.cut
    parts = [train_answers(project, fit_step(project, part, until, progress), until, progress) for part in rung.step.parts]
    first, second = _shared(*parts)
    both = list(zip(first.predictions, second.predictions, first.scores, second.scores))
    kept = [sure.is_sure(one, cut) for one, _, _, _ in both]
    return TrainAnswers(
        tuple(sure.joined(one, None if keep else other, cut) for keep, (one, other, _, _) in zip(kept, both)),
        tuple(a if keep else b for keep, (_, _, a, b) in zip(kept, both)),
        max(first.folds, second.folds),
        0.0,  # counted with the cascade's own fit
        0.0,
    )


def asked(project: Project, predictor: Predictor, rows: Sequence[Prediction]) -> list[tuple[ModelRef, list[Prediction]]]:
    """Each model that was asked for these answers, with what it was asked. `rows`: of `rung.evaluate.predict.answer`."""
    if predictor.then is None or predictor.cascade is None:
        return [(predictor.model, list(rows))]
    first, second = (project.store.predictions(one.digest) for one in (predictor.alone, predictor.then))
    passed = [second[one.id] for one in rows if not sure.is_sure(first[one.id], predictor.cascade.cut)]
    return [(predictor.model, [first[one.id] for one in rows]), (predictor.then.model, passed)]


def too_cheap(step: Step, records: Sequence[Record]) -> str:
    """Why the usual cascade is not tried, by the measured prices of its parts; empty if it may be worth it."""
    cheap, dear = (next((one.cost for one in records if one.rung == part.rung and one.cost), None) for part in step.parts)
    first, second = (part.rung for part in step.parts)
    if not (cheap and dear):
        return f"{first} and {second} were not both measured"
    if dear.per_1k_usd < DEARER * cheap.per_1k_usd:
        times = dear.per_1k_usd / cheap.per_1k_usd
        return f"an answer of {second} costs {times:.1f} times one of {first}, less than {DEARER} times"
    return ""


def doubtful(project: Project, step: Step, until: float, progress: Progress) -> str:
    """Why the usual cascade is not tried, by the cheap rung's confidence in its answers to train rows; empty if it is.

    Dev answers play no part in it, so that the cascade counts as one try whatever they are.
    """
    try:
        found = train_answers(project, fit_step(project, step.parts[0], until, progress), until, progress)
    except BudgetError as error:
        return str(error)
    given = [(one.confidence, score) for one, score in zip(found.predictions, found.scores) if one.confidence is not None]
    area = choosing.auc(*zip(*given)) if given else None
    if area is None or area < LEAST_AREA:
        seen = "unknown" if area is None else f"{area:.3f}"
        first = step.parts[0].rung
        return f"the confidence of {first} does not tell right from wrong: area under the curve {seen}, not {LEAST_AREA}"
    return ""
