"""Cascades in the plan: a cheap rung answers where it is sure, a dear one the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rung.advise.advise import ORDER, Advice
from rung.machine import Machine
from rung.methods.chain import estimate_rung, with_train_answers
from rung.planning.bases import Base
from rung.planning.steps import Step, in_order
from rung.task import Task, base_names, cascade_names
from rung.types import Cost, TrainData

PASSED_ON = 0.5
"""Share of rows that the dear rung answers, as estimated before any is answered."""
DEARER = 10
"""How many times the cheap rung's price, as estimated and as measured, an answer of the dear one costs in the usual cascade."""


def with_cascades(steps: Sequence[Step], task: Task, data: TrainData, bases: Mapping[str, Base], machine: Machine) -> list[Step]:
    """The plan's rungs with the cascades that the task names, or with the usual one. TaskError for a part that is no rung."""
    given = [(name, found) for name in task.rungs or () if (found := cascade_names.parts(name))]
    made = [_cascade([_named(part, steps, task, bases) for part in found], task, machine) for _, found in given]
    if task.rungs is None and (pair := usual(steps, data)):
        made.append(replace(_cascade(pair, task, machine), usual=True))
    known = {step.rung: step for step in (*steps, *made)}
    return in_order(known.values())


def usual(steps: Sequence[Step], data: TrainData) -> tuple[Step, Step] | None:
    """The cascade that is tried by default, by the estimates: fixed before any row is scored, so it counts as one try.

    The dear rung is the one with the flowchart's highest bet among those that ask the base and cost DEARER times as much a call
    as the cheap one; the cheap one is the dearest of those that answer with a model of their own.
    """
    tried = [(step, step.estimate) for step in steps if step.estimate and step.advice]
    own = [(step, cost) for step, cost in tried if step.methods and step.methods[0].own_model]
    asking = [(step, cost) for step, cost in tried if not (step.methods and step.methods[0].own_model)]
    if not data.labels or not own:
        return None
    cheap, least = max(own, key=lambda one: one[1].per_1k_usd)
    dear = [step for step, cost in asking if cost.per_1k_usd >= DEARER * max(least.per_1k_usd, 1e-9)]
    return (cheap, max(dear, key=lambda step: step.advice.bet if step.advice else 0)) if dear else None


def _named(part: str, steps: Sequence[Step], task: Task, bases: Mapping[str, Base]) -> Step:
    """The step of a cascade's part, which the plan lists as a rung of its own."""
    name, base = base_names.parse(part, dict(zip(bases, task.bases or (task.base,))))
    on_base = f"{name}{base_names.AT}{base}"
    alike = [step for step in steps if step.rung.partition(base_names.AT)[0] == name]
    return next((step for step in alike if step.rung == on_base or (base and step.base is bases[base])), alike[0])


def _cascade(parts: Sequence[Step], task: Task, machine: Machine) -> Step:
    cheap, dear = parts
    name = f"{cheap.rung}{cascade_names.THEN}{dear.rung}"
    bare = Step(name, (), dear.base, None, parts=(cheap, dear), remote=cheap.remote or dear.remote)
    if untried := [one for one in parts if one.estimate is None]:
        return replace(bare, skip=f"{untried[0].rung} cannot be tried: {untried[0].skip}")
    verdicts = [one.advice.verdict if one.advice else "later" for one in parts]
    bet = max(one.advice.bet if one.advice else 0 for one in parts)
    why = f"{cheap.rung} answers where it is sure, {dear.rung} the rest"
    advice = Advice("cascades", max(verdicts, key=ORDER.index), bet, why)
    return replace(bare, estimate=_blend(cheap, dear, task, machine), advice=advice)


def _blend(cheap: Step, dear: Step, task: Task, machine: Machine) -> Cost:
    """Both fits with their answers to train rows; of an answer that of the cheap rung and a share of the dear one's."""
    first, second = cheap.estimate, dear.estimate
    assert first and second
    more = [0.0 if task.goal.coverage is not None else _train_answers(one, machine) for one in (cheap, dear)]
    return Cost(
        fit_seconds=first.fit_seconds + second.fit_seconds + sum(more),
        row_seconds=first.row_seconds + PASSED_ON * second.row_seconds,
        memory_bytes=first.memory_bytes + second.memory_bytes,
        once_usd=first.once_usd + second.once_usd + machine.usd(sum(more)),
        per_month_usd=first.per_month_usd + PASSED_ON * second.per_month_usd,
        per_1k_usd=first.per_1k_usd + PASSED_ON * second.per_1k_usd,
    )


def _train_answers(step: Step, machine: Machine) -> float:
    """Estimated seconds of answering train rows as new ones, by the part's estimate as past errors or a sample corrected it."""
    assert step.estimate
    facts, quote = step.base.facts, step.estimate
    built = replace(estimate_rung(step.methods, facts, machine), fit_seconds=quote.fit_seconds, row_seconds=quote.row_seconds)
    return with_train_answers(built, step.methods, facts).fit_seconds - built.fit_seconds
