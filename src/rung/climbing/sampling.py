"""Before a climb is estimated: two train rows are asked of each rung that writes and trains nothing.

How long a model writes is seen in no data: one ends its answers after a few examples, another never does. The answers are
not scored, and what decides sees neither them nor their rows.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from rung.climbing.fit import fit, fit_context
from rung.climbing.out_of_fold import drawn
from rung.climbing.project import Project
from rung.errors import RungError
from rung.evaluate.predict import answer
from rung.lm.engine_kinds import can
from rung.methods.base import Method
from rung.methods.chain import estimate_rung
from rung.methods.estimate import CostEstimate, batch_seconds
from rung.planning import samples
from rung.planning.bases import Base
from rung.planning.corrections import speeds
from rung.planning.samples import Sample
from rung.planning.steps import Step
from rung.types import Prediction

ROWS = 2
"""Train rows asked of each rung."""
LEAST_SECONDS = 5.0
"""A rung that answers all dev rows in less is not asked: its estimate decides nothing."""
FREE_SECONDS = 30.0
SHARE = 0.05
"""Estimated seconds that asking all rungs may take, or this share of the climb's if that is more."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A rung that two rows are to be asked of."""

    step: Step
    methods: tuple[Method, ...]
    key: str
    built: CostEstimate
    seconds: float
    """Estimated, to fit what is asked and to answer."""


def wanted(project: Project, most: float | None = None) -> list[Asked]:
    """Rungs that are yet to be asked, in the plan's order, as far as their estimated seconds allow."""
    steps, rows = [step for step in project.plan.steps if step.estimate and not step.parts], len(project.inputs.splits.dev)
    if most is None:
        whole = sum(step.estimate.fit_seconds + rows * step.estimate.row_seconds for step in steps if step.estimate)
        most = max(FREE_SECONDS, SHARE * whole)
    found: dict[str, Asked] = {}
    for one in filter(None, (_asked(project, step) for step in steps)):
        known = one.key in project.samples or one.key in found
        if known or one.built.row_seconds * rows < LEAST_SECONDS:
            continue
        if sum(other.seconds for other in found.values()) + one.seconds <= most:
            found[one.key] = one
    return list(found.values())


def said(project: Project) -> str:
    """Whose estimates two answers have corrected, whom a climb would ask first, and who is not asked; for the plan."""
    bases = {base.start.digest for base in project.plan.bases.values()}
    corrected = list(dict.fromkeys(one.rung for one in project.samples.values() if one.base in bases))
    wish = [one.step.rung for one in wanted(project)]
    parts = [f"Corrected by {ROWS} answers: {', '.join(corrected)}."] if corrected else []
    parts += [f"A climb first asks {ROWS} train rows of: {', '.join(wish)}."] if wish else []
    far = any(not can(base.start.model).local for base in project.plan.bases.values())
    parts += ["Models behind an API are not asked: each question costs."] if parts and far else []
    return " ".join(parts)


def _asked(project: Project, step: Step) -> Asked | None:
    """What two rows would be asked with; None for rungs that are not asked."""
    part, base = samples.asked_part(step.methods), step.base
    if part is None or base.fault or not samples.is_asked(base.start) or not project.inputs.data.examples:
        return None
    built = estimate_rung(part, base.facts, project.machine)
    seconds = built.fit_seconds + _asking_seconds(built, base, project)
    return Asked(step, part, samples.key(base.start, part), built, seconds)


def _asking_seconds(built: CostEstimate, base: Base, project: Project) -> float:
    """Estimated seconds of asking, if an answer of them is cut."""
    rows = [(built.prompt_tokens, base.facts.max_new_tokens)] * ROWS
    return batch_seconds(rows, built.shared_tokens, base.facts.parameters, project.machine)


def ask(project: Project, until: float, most: float | None = None) -> None:
    """Ask what is wanted and estimate again. What cannot be asked is said: its rung is measured all the same, or fails there.

    `until`: a `time.monotonic()`; `most`: estimated seconds that asking may take, by default as `FREE_SECONDS` and `SHARE` say.
    """
    asked = [one for wish in wanted(project, most) if (one := _sampled(project, wish, until))]
    if asked:
        names, seconds = ", ".join(one.rung for one in asked), sum(one.seconds for one in asked)
        project.say(f"asked {ROWS} train rows each to estimate {names}: {seconds:.1f} s")
        project.estimate_again()


def _sampled(project: Project, wish: Asked, until: float) -> Sample | None:
    """Ask one rung, unless another driver has done so meanwhile; None if it cannot be asked."""
    try:
        with project.store.lease("samples", until):
            found = samples.stored(project.store).get(wish.key) or _answered(project, wish, until)
            project.store.change(samples.FILE, lambda before: {**before, wish.key: asdict(found)})
            return found
    except RungError as error:
        project.say(f"{wish.step.rung} is estimated without asking it: {error}")
        return None


def _answered(project: Project, wish: Asked, until: float) -> Sample:
    """Fit what is asked, and have it answer."""
    start = wish.step.base.start
    start.warm(project.engines)  # loading time does not count
    predictor, _ = fit(fit_context(project, start), wish.methods, until, lambda text, share: None)
    shown = {row.id for row in predictor.demos.fixed}
    rows = drawn([row for row in project.inputs.data.examples if row.id not in shown], ROWS)
    known = project.store.predictions(predictor.digest)
    found = answer(predictor, rows, project.store, project.engines, lambda text, share: None, until) if rows else []
    fresh = not any(row.id in known for row in rows)
    return _sample(project, wish, found, sum(one.seconds for one in found) if fresh else 0.0)


def _sample(project: Project, wish: Asked, found: list[Prediction], seconds: float) -> Sample:
    asked = [one for one in found if one.tokens_out and not one.error]
    return Sample(
        rung=wish.step.rung,
        base=wish.step.base.start.digest,
        stop=int(wish.built.stop_behaviour),
        limit=wish.step.base.start.decoding.max_new_tokens,
        read=tuple(one.tokens_in for one in asked),
        written=tuple(one.tokens_out for one in asked),
        shared=wish.built.shared_tokens,
        seconds=seconds if len(asked) == len(found) else 0.0,
        machine=speeds(asdict(project.machine)),
    )
