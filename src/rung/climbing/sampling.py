"""Before a climb is estimated: a few train rows are asked of each rung that writes and trains nothing.

How long a model writes is seen in no data: one ends its answers after a few examples, another never does. The answers are
not scored, and what decides sees neither them nor their rows.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rung import files
from rung.climbing.fit import fit, fit_context
from rung.climbing.out_of_fold import drawn
from rung.climbing.project import Project
from rung.errors import RungError, disk_full
from rung.evaluate.predict import answer
from rung.methods.base import Method
from rung.methods.chain import estimate_rung
from rung.methods.estimate import StopBehaviour, batch_seconds
from rung.planning import samples
from rung.planning.samples import Sample
from rung.planning.steps import Step
from rung.task import base_names

ROWS = 4
"""Train rows asked of each rung. They are written in one batch, whose steps take nearly as long for two."""
LEAST_SECONDS = 5.0
"""A rung that answers all dev rows in less is not asked: its estimate decides nothing."""
MOST_SECONDS = 30.0
SHARE = 0.05
"""Estimated seconds that asking all rungs may take, and at most this share of what is left of the budget."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A rung that rows can be asked of."""

    step: Step
    methods: tuple[Method, ...]
    """Those that the rows are asked with."""
    key: str
    """Of its sample."""
    stop: StopBehaviour
    seconds: float
    """Estimated, to fit these methods and to answer."""


def candidates(project: Project) -> list[Candidate]:
    """Rungs that write, train nothing and take long enough to matter, in the plan's order, asked before or not."""
    found = (_candidate(project, step) for step in project.plan.steps if step.estimate and not step.parts)
    return [one for one in found if one]


def to_sample(project: Project, left: float) -> list[Candidate]:
    """Rungs that a climb would ask now, in the plan's order, with `left` seconds of the budget.

    Samples on record count toward the limit, so that a second climb asks no more.
    """
    every, known, unmeasured = candidates(project), project.samples, _unmeasured(project)
    spent, found = sum({one.key: one.seconds for one in every if one.key in known}.values()), dict[str, Candidate]()
    for one in every:
        fits = spent + one.seconds <= min(MOST_SECONDS, SHARE * left)
        if fits and one.step.rung in unmeasured and one.key not in known and one.key not in found:
            found[one.key] = one
            spent += one.seconds
    return list(found.values())


def to_ask(project: Project) -> list[str]:
    """Rungs that a climb on this machine would ask first; none where the plan is estimated for another machine."""
    minutes = project.task.budget.minutes
    return [] if project.estimate_for else [one.step.rung for one in to_sample(project, 60 * (minutes or math.inf))]


def summary(project: Project) -> str:
    """Whose estimates sampled lengths have corrected, and whom a climb would ask first; for the plan."""
    corrected = [step.rung for step in project.plan.steps if step.estimate and step.sampled]
    parts = [f"Corrected by the lengths of {ROWS} sampled answers: {', '.join(corrected)}."] if corrected else []
    if rungs := to_ask(project):
        parts.append(f"A climb on this machine first asks {ROWS} train rows of: {', '.join(rungs)}.")
    return " ".join(parts)


def _unmeasured(project: Project) -> set[str]:
    """Rungs without a record on their base, which would correct the estimate better. Empty for a single one: nothing to order."""
    done = {(_name(one.rung), one.provenance.base) for one in project.store.records() if one.status == "done"}
    steps = [step for step in project.plan.steps if step.estimate and not step.usual]
    found = {step.rung for step in steps if (_name(step.rung), step.base.start.model.digest) not in done}
    return found if len(found) > 1 else set()


def _name(rung: str) -> str:
    return rung.partition(base_names.AT)[0]


def _candidate(project: Project, step: Step) -> Candidate | None:
    """What rows would be asked with; None for rungs that are not asked."""
    part, base, data = samples.sampled_part(step.methods), step.base, project.inputs.data
    if part is None or base.fault or not samples.can_be_sampled(base.start) or not data.examples:
        return None
    built = estimate_rung(part, base.facts, project.machine)
    if built.row_seconds * len(project.inputs.splits.dev) < LEAST_SECONDS:
        return None
    cut = [(built.prompt_tokens, base.facts.max_new_tokens)] * ROWS
    seconds = built.fit_seconds + batch_seconds(cut, built.shared_tokens, base.facts.parameters, project.machine)
    return Candidate(step, part, samples.key(base, part, data), built.stop_behaviour, seconds)


def ask(project: Project, until: float) -> None:
    """Ask rows of each rung that a climb asks first, as one driver at a time, and estimate again.

    `until`: a `time.monotonic()`. DiskFullError if there is no space; any other failure is said, and the climb goes on.
    """
    unmeasured = _unmeasured(project)
    if not any(one.step.rung in unmeasured for one in candidates(project)):
        return
    try:
        with project.store.lease("samples", until):
            project.estimate_again()  # by what another driver has sampled meanwhile
            sample(project, to_sample(project, until - time.monotonic()), until)
    except Exception as error:
        _failed(project, "the climb is estimated without asking rows", error)


def sample(project: Project, some: Sequence[Candidate], until: float) -> None:
    """Ask rows of each of these and estimate again. For who has the lease of samples.

    A sample is noted before it is taken: one that ends the process, as for want of memory, is not taken again.
    """
    for one in some:
        base = one.step.base
        noted = Sample(one.step.rung, samples.task_digest(base), one.stop, base.start.decoding.max_new_tokens)
        samples.put(project.store, one.key, noted)
        found = list[int]()
        try:
            found = _lengths(project, one, until)
        except Exception as error:
            _failed(project, f"{one.step.rung} is estimated without asking it", error)
        finally:
            samples.put(project.store, one.key, replace(noted, lengths=tuple(found)) if found else None)
    if some:
        project.estimate_again()


def _lengths(project: Project, one: Candidate, until: float) -> list[int]:
    """Fit what is asked, have it answer, and count each answer's tokens; none of rows that the model did not answer."""
    start, began = one.step.base.start, time.monotonic()
    project.say(f"asking {min(ROWS, len(project.inputs.data.examples))} rows of {one.step.rung}…")
    predictor, _ = fit(fit_context(project, start), one.methods, until, lambda text, share: None)
    shown = {row.id for row in predictor.demos.fixed}
    rows = drawn([row for row in project.inputs.data.examples if row.id not in shown], ROWS)
    answers = answer(predictor, rows, project.store, project.engines, lambda text, share: None, until) if rows else []
    found = [row.tokens_out for row in answers if row.tokens_out and not row.error]
    took = time.monotonic() - began
    project.say(f"{one.step.rung} wrote {len(found)} of {len(rows)} answers in {took:.1f} s, to estimate its time")
    return found


def _failed(project: Project, what: str, error: Exception) -> None:
    """Say why rows were not asked. DiskFullError if the store has no space: whatever comes next would fail as well."""
    if files.is_full(error):
        raise disk_full(project.store.folder, error) from error
    why = str(error) if isinstance(error, RungError) else f"{type(error).__name__}: {error}"
    project.say(f"{what}: {why}")
