"""Tuning a rung: trials are fitted on one part of train and raced on the other; dev is not used."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Protocol

from rung.climbing import fit as fitting
from rung.climbing.deadline import deadline
from rung.climbing.fit import FitContext
from rung.climbing.project import Project
from rung.errors import BudgetError, RungError, TaskError
from rung.evaluate.predict import NoAnswersError, answer
from rung.evaluate.provenance import gather
from rung.methods.base import Method
from rung.methods.chain import estimate_rung
from rung.methods.estimate import price
from rung.methods.facts import Facts
from rung.metrics import score
from rung.planning.corrections import corrected
from rung.planning.steps import Step
from rung.predictor import Predictor
from rung.sequential.interim import bounds, schedule_analyses
from rung.sequential.race import Outcome, clusters_of, race
from rung.task.base_names import AT
from rung.tune.trials import Trial, pace, plan, split_train
from rung.tune.verdict import ERROR, RaceSetup, TuningVerdict, tuning_verdict
from rung.types import Cost, Example, digest


class Watcher(Protocol):
    """Receives progress. Trials are identified by index."""

    def changed(self, trials: Sequence[Trial]) -> None: ...
    def progress(self, trial: int, text: str, share: float) -> None: ...


@dataclass(frozen=True)
class Tuning:
    """Result of tuning a rung."""

    rung: str
    metric: str
    fitted_on: int
    """Train rows used for fitting."""
    rows: int
    """Train rows used for scoring."""
    looks: tuple[int, ...]
    trials: tuple[Trial, ...]
    """The current settings first."""
    conclusion: TuningVerdict


def tune(
    project: Project,
    watcher: Watcher,
    sets: Sequence[str] = (),
    *,
    most: int = 0,
    seed: int = 0,
    minutes: float | None = None,
) -> Tuning:
    """Race settings of a rung; report the best and whether they are significantly better than those of rung.yaml.

    `project`: with a single rung; `sets`, `most`, `seed`: see `trials.plan`. Fits and answers are stored by content, so a
    stopped run resumes. Trials that do not fit into `minutes` are skipped. TaskError if the metric is not a mean over rows.
    """
    metric, step = project.scoring.metric(), _step(project)
    name = step.rung.partition(AT)[0]
    trials = plan(name, project.task.methods, sets, most, seed)
    parts = split_train(project, step.base)
    costs = [corrected(_estimate(project, parts.facts, one.methods), step.scale) for one in trials]
    first, *others = (replace(one, estimate=cost) for one, cost in zip(trials, costs))
    ordered = [first, *sorted(others, key=lambda one: one.estimate.fit_seconds)]
    rows, context = parts.rows, parts.context
    clusters = clusters_of(rows)
    track = RaceSetup(rows, clusters, schedule_analyses(len(rows), clusters), metric.binary)
    with project.store.locked():
        with deadline(project.engines, minutes) as until:
            watcher.changed(ordered)
            running = _Running(context, track, until, watcher, ordered)
            fitted = running.fit()
            outcome = running.race(fitted)
        conclusion = tuning_verdict(name, ordered, list(fitted), outcome, track)
        sizes = (len(context.data.examples), len(rows), track.schedule.sizes)
        found = Tuning(step.rung, metric.name, *sizes, tuple(ordered), conclusion)
        fits = [fitting.fit_keys(context, trial.methods) for trial in trials]
        key = digest([fits, [row.id for row in rows], project.scoring.key])
        provenance = replace(gather(project.task.folder, project.machine), train=context.data.digest)
        project.store.write(f"tune/{key}.json", {**content(found), "provenance": provenance.to_json()})
    return found


def _step(project: Project) -> Step:
    """The rung to tune. RungError if it, or the metric, cannot be tuned."""
    if (metric := project.scoring.metric()).corpus:
        raise TaskError(
            f"trials are raced by a metric that is the mean of its rows, and {metric.name} is not.",
            where="rung.yaml goal.metric",
            remedy="Take another goal.metric.",
        )
    if (agreement := project.scoring.agreement()) and agreement.doubt:
        raise TaskError(
            f"trials would be decided by the judge, and {agreement.doubt}.",
            where="rung.yaml judge",
            remedy="Add human marks under judge.marked, use a stronger judge, or use another goal.metric.",
        )
    step, *others = project.plan.steps
    if others:
        raise TaskError(
            f"one rung is tuned at a time, and these are {', '.join(one.rung for one in project.plan.steps)}.", remedy="Name one."
        )
    if step.estimate is None:
        raise TaskError(f"the rung {step.rung!r} cannot be tried: {step.skip}.", where=str(project.task.folder))
    return step


def content(found: Tuning) -> dict[str, Any]:
    """A Tuning as plain JSON-able values."""
    trials = [
        {
            "name": one.name,
            "settings": dict(one.settings),
            "status": one.status,
            "reason": one.reason,
            "score": one.score and asdict(one.score),
            "fit_seconds": one.fit_seconds,
        }
        for one in found.trials
    ]
    sizes = {"fitted_on": found.fitted_on, "rows": found.rows, "looks": found.looks}
    return {"rung": found.rung, "metric": found.metric, **sizes, **asdict(found.conclusion), "trials": trials}


def _estimate(project: Project, facts: Facts, chain: Sequence[Method]) -> Cost:
    return price(estimate_rung(chain, facts, project.machine), project.machine, project.task.volume, facts.tariff)


# --- fitting and racing -----------------------------------------------------------------------------------------------


class _TrialFailedError(Exception):
    """A trial could not answer: its index, status and reason."""


@dataclass
class _Running:
    """The running trials."""

    context: FitContext
    track: RaceSetup
    deadline: float
    watcher: Watcher
    trials: list[Trial]

    def set(self, i: int, **now: Any) -> None:
        self.trials[i] = replace(self.trials[i], **now)
        self.watcher.changed(self.trials)

    def fit(self) -> dict[int, Predictor]:
        """Fit as many trials as the time allows, reserving the time to answer with those fitted."""
        fitted: dict[int, Predictor] = {}
        for i, trial in enumerate(self.trials):
            slow = pace(self.trials)
            asked = [trial, *(self.trials[k] for k in fitted)]
            until = self.deadline - max(1.0, slow) * len(self.track.rows) * sum(one.estimate.row_seconds for one in asked)
            takes, left = slow * trial.estimate.fit_seconds, until - time.monotonic()
            kept = self.context.store.fitted(fitting.fit_keys(self.context, trial.methods)[-1])
            if not kept and takes > left:
                reason = f"needs about {takes / 60:.1f} minutes to fit, and {max(0.0, left) / 60:.1f} are left"
                self.set(i, status="not begun", reason=reason)
                continue
            try:
                fitted[i], notes = fitting.fit(self.context, trial.methods, until, partial(self.watcher.progress, i))
                self.set(i, status="fitted", fit_seconds=sum(note["seconds"] for note in notes))
            except BudgetError as error:
                self.set(i, status="stopped", reason=error.what)
            except Exception as error:  # a failed trial is recorded, and the race continues
                self.set(i, status="failed", reason=_error_text(error))
        return fitted

    def race(self, fitted: dict[int, Predictor]) -> Outcome | None:
        """Race the fitted trials; None if time ran out.

        A trial that fails is removed from `fitted`, and the race restarts with the cached answers of the others.
        """
        track = self.track
        while fitted:
            try:
                askers = [self._asker(i, one) for i, one in fitted.items()]
                outcome = race(askers, track.rows, track.schedule, alpha=ERROR, clusters=track.clusters, binary=track.binary)
            except _TrialFailedError as error:
                i, status, reason = error.args
                fitted.pop(i)
                self.set(i, status=status, reason=reason)
                continue
            except BudgetError as error:
                for i in fitted:
                    self.set(i, status="stopped", reason=error.what)
                return None
            dropped = {one.candidate: f"at stage {one.look + 1} of {len(track.schedule.sizes)}" for one in outcome.dropped}
            for place, i in enumerate(fitted):
                self.set(i, status="dropped" if place in dropped else "left", reason=dropped.get(place, ""))
            return outcome
        return None

    def _asker(self, i: int, predictor: Predictor) -> Callable[[Sequence[Example]], Sequence[float]]:
        context, track, metric, seen = self.context, self.track, self.context.scoring.metric(), list[float]()

        def ask(rows: Sequence[Example]) -> Sequence[float]:
            try:
                found = answer(predictor, rows, context.store, context.engines, partial(self.watcher.progress, i), self.deadline)
                scores = score(metric, rows, found, "train")
                if scores.unscored:
                    raise NoAnswersError(f"{len(scores.unscored)} of {len(rows)} rows have no score: {scores.unscored[0].why}")
            except BudgetError:
                raise
            except Exception as error:
                status = "unanswered" if isinstance(error, NoAnswersError) else "failed"
                raise _TrialFailedError(i, status, _error_text(error)) from error
            seen.extend(scores.per_row)
            self.set(i, score=bounds(seen, *track.at(seen, 0.025)))
            return scores.per_row

        return ask


def _error_text(error: Exception) -> str:
    return str(error) if isinstance(error, RungError) else f"{type(error).__name__}: {error}"
