"""The plan: rungs in the order to try, their cost estimates, and why some are skipped."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from rung import label_sets, methods
from rung.advise.advise import ORDER, Advice, Answers, Chart, Listed, chart
from rung.advise.facts import answers, on_base
from rung.lm.engine_kinds import can
from rung.machine import Machine
from rung.methods.base import Family, Method
from rung.methods.chain import asks_api, asks_base, estimate_rung, with_train_answers
from rung.methods.estimate import CostEstimate, price
from rung.methods.facts import Facts
from rung.planning.bases import Base, RungOnBase, available, on_bases
from rung.planning.corrections import Correction, PastEstimate, corrected, correction_for
from rung.planning.samples import Sample, with_samples
from rung.predictor import Predictor
from rung.task import Task, base_names, cascade_names
from rung.task.labels import OTHER
from rung.types import Cost, Example, Need, TrainData

BATCH_FACTOR = 3
"""A rung is ruled out by latency only if its estimate in a batch exceeds the limit by this factor."""


@dataclass(frozen=True, slots=True)
class Step:
    """One rung of the plan."""

    rung: str
    methods: tuple[Method, ...]
    base: Base
    """The base it starts from."""
    estimate: Cost | None
    skip: str = ""
    """Why it is not tried; empty if it is."""
    advice: Advice | None = None
    """The flowchart's advice."""
    raw: Cost | None = None
    """The estimate by counts alone: before correction by past errors, and without a sample."""
    scale: Correction = Correction()
    sampled: bool = False
    """Whether the lengths of sampled answers have corrected the estimate."""
    remote: bool = False
    """Whether an API answers."""
    parts: tuple[Step, ...] = ()
    """Of a cascade: the cheap rung and the dear one. Its own `methods` are empty."""
    usual: bool = False
    """Of a cascade: tried without being named, once both parts are measured and the cheap one proves to be worth it."""

    @property
    def all_methods(self) -> tuple[Method, ...]:
        """Its methods, or those of both parts."""
        return (*self.methods, *(method for part in self.parts for method in part.methods))


@dataclass(frozen=True, slots=True)
class BreakEven:
    """The volume at which two rungs cost the same over a year."""

    below: str
    above: str
    volume: float
    """Calls a month."""


def labels(task: Task, examples: Sequence[Example]) -> tuple[str, ...]:
    """Labels of a classify task: those of the task file, or those seen in train."""
    if task.kind != "classify":
        return ()
    if task.labels:
        return tuple(task.labels)
    more = (OTHER,) if task.other else ()
    seen = {label for row in examples for label in (label_sets.split(row.output) if task.multilabel else (row.output,))}
    return (*sorted(seen - {*more}), *more)


@dataclass(frozen=True, slots=True)
class FlowchartInput:
    """Input of the flowchart: answers and possible rungs of each base."""

    usual: tuple[Answers, Listed]
    others: Mapping[str, tuple[Answers, Listed]]

    def chart(self, closed: Collection[str] = ()) -> Chart:
        """The resulting chart. `closed`: rungs ruled out by their cost estimate."""
        return chart(*self.usual, others=self.others, closed=closed)


def flowchart_input(task: Task, data: TrainData, bases: Mapping[str, Base], machine: Machine) -> FlowchartInput:
    """Answer the flowchart's questions for this task, on the default base and on the others."""
    listed: dict[str, dict[str, tuple[Family | None, ...]]] = {name: {} for name in bases}
    for place in _listed(task, data, bases, machine):
        if not place.missing:
            listed[place.base][place.rung] = tuple(method.family for method in place.methods) or (Family.PROMPTING,)
    have = {name: available(base.start.model, data, machine) for name, base in bases.items()}
    usual, *others = bases
    known = answers(task, data, bases[usual].facts, machine, have[usual])
    rest = {name: (on_base(known, task, data, bases[name].facts, machine, have[name]), listed[name]) for name in others}
    return FlowchartInput((known, listed[usual]), rest)


def _listed(task: Task, data: TrainData, bases: Mapping[str, Base], machine: Machine) -> list[RungOnBase]:
    """The rungs that the task names, or else the default ones, on the bases that can serve them."""
    starts = {name: base.start for name, base in bases.items()}
    usual = next(iter(starts.values()))
    have = available(usual.model, data, machine)
    named = cascade_names.with_parts(task.rungs or ()) or (
        *methods.usual(have),
        *_tuned_encoder(data, have),
        *_tuned(data, have),
        *_agents(starts, have),
    )
    found = [place for name in named for place in on_bases(name, task, starts, data, machine)]
    return list({place.rung: place for place in found}.values())


def unnamed(task: Task, data: TrainData, bases: Mapping[str, Base], machine: Machine) -> list[str]:
    """The rungs that would be tried if the task named none, and that it leaves out."""
    if task.rungs is None:
        return []
    usual = _listed(task.model_copy(update={"rungs": None}), data, bases, machine)
    named = {place.rung for place in _listed(task, data, bases, machine)}
    return [place.rung for place in usual if place.rung not in named and not place.missing]


def _tuned_encoder(data: TrainData, have: Collection[Need]) -> list[str]:
    """The rung that tunes the encoder, where the task names no rungs and there are many rows."""
    return [methods.ENCODER_TUNED] if Need.LABELS in have and len(data.examples) >= methods.ENCODER_ROWS else []


def _tuned(data: TrainData, have: Collection[Need]) -> list[str]:
    """The rung that tunes retrieval, where the task names no rungs and there is enough to tune it on."""
    enough = Need.DOCUMENTS in have and sum(bool(row.source) for row in data.examples) >= methods.TUNED_ROWS
    return [methods.TUNED] if enough else []


def _agents(starts: Mapping[str, Predictor], have: Collection[Need]) -> list[str]:
    """Bases that look through the documents themselves where the task names no rungs: those behind an API, which are capable."""
    if Need.DOCUMENTS not in have:
        return []
    return [f"{methods.AGENT}{base_names.AT}{name}" for name, start in starts.items() if not can(start.model).local]


def plan(
    task: Task,
    data: TrainData,
    bases: Mapping[str, Base],
    machine: Machine,
    advised: Chart | None = None,
    seen: tuple[Sequence[PastEstimate], Sequence[PastEstimate]] = ((), ()),
    samples: Mapping[str, Sample] | None = None,
) -> list[Step]:
    """All rungs with cost estimates: "do", then "later", each cheapest first; skipped rungs last.

    `bases`: by short name, the default first. Rungs named in the task are tried against any advice. `seen`: past estimate
    errors, in this task and on this machine. `samples`: answers to a few rows, by their keys.
    """
    found = advised or flowchart_input(task, data, bases, machine).chart()
    steps = []
    for place in _listed(task, data, bases, machine):
        base, facts, chain = bases[place.base], bases[place.base].facts, place.methods
        if place.missing:
            steps.append(Step(place.rung, chain, base, None, _missing_needs(place, len(bases))))
            continue
        if base.fault and asks_base(chain):
            steps.append(Step(place.rung, chain, base, None, base.fault))
            continue
        built = _built(chain, facts, task, machine)
        model = base.start.model
        asked = (not data.labels, *seen, model.digest, asks_api(chain, model))
        scale = correction_for(place.rung, *asked)
        if not scale.runs and (like := [one.costs_like for one in chain if one.costs_like]):
            scale = correction_for(like[-1], *asked)
        # a measurement of the rung itself has the lengths of its answers in it
        sized = built if scale.own else _built(chain, with_samples(base, chain, data, samples or {}), task, machine)
        better = corrected(sized, scale.beside(built, sized))
        raw, quote = [price(one, machine, task.volume, facts.tariff) for one in (built, better)]
        remote = facts.call_seconds > 0 and not any(method.own_model for method in chain)
        step = Step(place.rung, chain, base, quote, "", found.rungs[place.rung], raw, scale, sized != built, remote)
        reason = "" if task.rungs else _ruled_out(step, found, machine)
        steps.append(replace(step, estimate=None, skip=reason) if reason else step)
    return in_order(steps)


def _built(chain: Sequence[Method], facts: Facts, task: Task, machine: Machine) -> CostEstimate:
    """The estimate from these facts; with train rows answered as new ones where the task wants confidences."""
    built = estimate_rung(chain, facts, machine)
    return built if task.goal.coverage is None else with_train_answers(built, chain, facts)


def in_order(steps: Iterable[Step]) -> list[Step]:
    """As they are tried: by advice, then cheapest first; those that cannot be tried last."""
    return sorted(steps, key=_order)


def _order(step: Step) -> tuple[bool, int, float]:
    verdict = step.advice.verdict if step.advice else "don't"
    return step.estimate is None, ORDER.index(verdict), yearly(step.estimate)


def _missing_needs(place: RungOnBase, bases: int) -> str:
    who = place.base if bases > 1 and Need.OPEN_WEIGHTS in place.missing else "this task"
    return f"needs {' and '.join(place.missing)}, which {who} does not have"


def _ruled_out(step: Step, found: Chart, machine: Machine) -> str:
    """Why a rung is not worth trying; empty if it is."""
    assert step.advice and step.estimate
    if step.advice.verdict == "don't":
        return step.advice.why
    given = {answer.key: answer.value for answer in found.answers}
    if step.estimate.memory_bytes > machine.memory_bytes:
        return f"needs {step.estimate.memory_bytes / 2**30:.1f} GB of memory, and {machine.name} has {given['memory_gb']:.1f}"
    if step.estimate.once_usd > float(given["money_usd"]):
        return f"building it is estimated at ${step.estimate.once_usd:,.2f}, over needs.money_usd of ${given['money_usd']:,.2f}"
    limit = float(given["latency_ms"])
    if step.remote:  # the latency of an API is assumed, not measured
        return ""
    if limit and 1000 * step.estimate.row_seconds > BATCH_FACTOR * limit:
        return (
            f"an answer is estimated at {1000 * step.estimate.row_seconds:,.0f} ms even in a batch; the limit is {limit:,.0f} ms"
        )
    return ""


def bases_asked(steps: Sequence[Step]) -> dict[str, str]:
    """Base of each rung that uses one."""
    asking = [step for step in steps if any(asks_base(one.methods) for one in step.parts or (step,))]
    return {step.rung: step.base.start.model.name for step in asking}


def yearly(cost: Cost | None) -> float:
    """Cost over a year: one-time cost and twelve months at the task's volume. Determines the order of rungs."""
    return 0.0 if cost is None else cost.once_usd + 12 * cost.per_month_usd


def break_evens(steps: Sequence[Step]) -> list[BreakEven]:
    """For each pair where one rung is dearer to build and cheaper per call: the volume where that pays off in a year."""
    open_ = [step for step in steps if step.estimate]
    found = []
    for light in open_:
        for heavy in open_:
            assert light.estimate and heavy.estimate
            once = heavy.estimate.once_usd - light.estimate.once_usd
            call = (light.estimate.per_1k_usd - heavy.estimate.per_1k_usd) / 1000
            if call > 0 and once >= 12 * call:  # ignore break-even below one call a month
                found.append(BreakEven(light.rung, heavy.rung, once / (12 * call)))
    return sorted(found, key=lambda one: one.volume)
