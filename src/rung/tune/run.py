"""Tuning a rung: trials are fitted on one part of train and raced on the other; dev is not used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from rung.climbing import fit as fitting
from rung.climbing.deadline import deadline
from rung.climbing.executors import Open, Setting, local
from rung.climbing.project import Project
from rung.climbing.train_parts import split_train
from rung.errors import TaskError
from rung.evaluate.provenance import gather
from rung.methods.base import Method
from rung.methods.chain import estimate_rung
from rung.methods.estimate import price
from rung.methods.facts import Facts
from rung.planning.corrections import corrected
from rung.planning.steps import Step
from rung.sequential.interim import schedule_analyses
from rung.sequential.race import clusters_of
from rung.task.base_names import AT
from rung.tune.running import Running, Shown, Watcher
from rung.tune.trials import Trial, plan
from rung.tune.verdict import RaceSetup, TuningVerdict, tuning_verdict
from rung.types import Cost, digest


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
    on: Open = local,
) -> Tuning:
    """Race settings of a rung; report the best and whether they are significantly better than those of rung.yaml.

    `project`: with a single rung; `sets`, `most`, `seed`: see `trials.plan`. Fits and answers are stored by content, so a
    stopped run resumes. Trials that do not fit into `minutes` are skipped. `on`: where trials are fitted and answer, by default
    in this process; the result is the same. TaskError if the metric is not a mean over rows.
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
        project.keep_precision([one.methods for one in ordered])
        with deadline(project.engines, minutes) as until:
            watcher.changed(ordered)
            with on(Setting(project, Shown(watcher, ordered), until)) as executor:
                running = Running(parts, track, until, watcher, ordered, executor)
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
