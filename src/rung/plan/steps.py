"""The plan: which rungs to try in which order, what each will cost, and which cannot be tried and why."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from rung import methods
from rung.advise.advise import ORDER, Advice, Answers, Chart, Listed, chart
from rung.advise.facts import answers, on_base
from rung.lm.remote.prices import Price
from rung.lm.remote.settings import Limits, Settings
from rung.machine import Machine
from rung.methods.base import Family, Method
from rung.methods.chain import asks_api, asks_base, estimate_rung
from rung.methods.estimate import price
from rung.plan.bases import Base, Place, available, places
from rung.plan.corrections import Past, Scale, learn, scaled
from rung.store import NAME
from rung.task import Task
from rung.types import Cost, Example, Need, TrainData

BATCHED = 3
"""A rung is ruled out by its latency only where an answer in a batch is quoted at so many times the limit."""


@dataclass(frozen=True, slots=True)
class Step:
    """One rung of the plan."""

    rung: str
    methods: tuple[Method, ...]
    base: Base
    """What it begins with."""
    estimate: Cost | None
    skip: str = ""
    """Why it cannot or should not be tried; empty where it can."""
    advice: Advice | None = None
    """What the flowchart says of it."""
    raw: Cost | None = None
    """The quote before it was scaled by what earlier quotes were off by."""
    scale: Scale = Scale()
    remote: bool = False
    """Whether an endpoint answers."""


@dataclass(frozen=True, slots=True)
class BreakEven:
    """Two rungs that cost the same over a year at some volume: one is cheaper below it, the other above."""

    below: str
    above: str
    volume: float
    """Calls a month."""


def settings(task: Task) -> Settings:
    """How the task's endpoints are asked, what they may cost, and where the answers are kept: in `.rung`, beside the rest."""
    api, most = task.api, task.budget
    return Settings(
        folder=task.folder / NAME,
        key_env=api.key_env,
        concurrency=api.concurrency,
        timeout_s=api.timeout_s,
        retries=api.retries,
        cache=api.cache,
        prices={model: Price(price.input, price.output, price.cached) for model, price in task.prices.items()},
        limits=Limits(calls=most.calls, tokens=most.tokens, usd=most.usd),
    )


def labels(task: Task, examples: Sequence[Example]) -> tuple[str, ...]:
    """The closed set of answers of a classify task: those of the task file, or those seen in train."""
    if task.kind != "classify":
        return ()
    return tuple(task.labels) if task.labels else tuple(sorted({example.output for example in examples}))


@dataclass(frozen=True, slots=True)
class Asked:
    """What the flowchart is asked: the answers of each base, and the rungs on it whose needs the task meets."""

    usual: tuple[Answers, Listed]
    others: Mapping[str, tuple[Answers, Listed]]

    def chart(self, closed: Collection[str] = ()) -> Chart:
        """What it says. `closed`: rungs that the plan rules out by what they are quoted at."""
        return chart(*self.usual, others=self.others, closed=closed)


def ask(task: Task, data: TrainData, bases: Mapping[str, Base], machine: Machine) -> Asked:
    """The flowchart's questions answered for this task: on the usual base, and where others differ from it."""
    listed: dict[str, dict[str, tuple[Family | None, ...]]] = {name: {} for name in bases}
    for place in _listed(task, data, bases, machine):
        if not place.missing:
            listed[place.base][place.rung] = tuple(method.family for method in place.methods) or (Family.PROMPTING,)
    have = {name: available(base.start.model, data, machine) for name, base in bases.items()}
    usual, *others = bases
    known = answers(task, data, bases[usual].facts, machine, have[usual])
    rest = {name: (on_base(known, task, data, bases[name].facts, machine, have[name]), listed[name]) for name in others}
    return Asked((known, listed[usual]), rest)


def _listed(task: Task, data: TrainData, bases: Mapping[str, Base], machine: Machine) -> list[Place]:
    """The rungs that the task names, or else the usual ones, on the bases that can serve them."""
    starts = {name: base.start for name, base in bases.items()}
    usual = next(iter(starts.values()))
    named = task.rungs or methods.usual(available(usual.model, data, machine))
    found = [place for name in named for place in places(name, task, starts, data, machine)]
    return list({place.rung: place for place in found}.values())


def plan(
    task: Task,
    data: TrainData,
    bases: Mapping[str, Base],
    machine: Machine,
    advised: Chart | None = None,
    seen: tuple[Sequence[Past], Sequence[Past]] = ((), ()),
) -> list[Step]:
    """Every rung with its quote: those to do, then those to try later, each cheapest first; those ruled out come last.

    `bases`: by short name, the usual one first. A rung that the task names is tried against any advice. `seen`: what
    earlier quotes were off by, in this task and on this machine.
    """
    found = advised or ask(task, data, bases, machine).chart()
    steps = []
    for place in _listed(task, data, bases, machine):
        base, facts, chain = bases[place.base], bases[place.base].facts, place.methods
        if place.missing:
            steps.append(Step(place.rung, chain, base, None, _lacking(place, len(bases))))
            continue
        if base.fault and asks_base(chain):
            steps.append(Step(place.rung, chain, base, None, base.fault))
            continue
        built = estimate_rung(chain, facts, machine)
        model = base.start.model
        scale = learn(place.rung, not data.labels, *seen, base=model.digest, remote=asks_api(chain, model))
        raw, quote = [price(one, machine, task.volume, facts.tariff) for one in (built, scaled(built, scale))]
        remote = facts.call_seconds > 0 and not any(method.own_model for method in chain)
        step = Step(place.rung, chain, base, quote, "", found.rungs[place.rung], raw, scale, remote)
        reason = "" if task.rungs else _ruled_out(step, found, machine)
        steps.append(replace(step, estimate=None, skip=reason) if reason else step)
    return sorted(steps, key=_place)


def _place(step: Step) -> tuple[bool, int, float]:
    verdict = step.advice.verdict if step.advice else "don't"
    return step.estimate is None, ORDER.index(verdict), yearly(step.estimate)


def _lacking(place: Place, bases: int) -> str:
    who = place.base if bases > 1 and Need.OPEN_WEIGHTS in place.missing else "this task"
    return f"needs {' and '.join(place.missing)}, which {who} does not have"


def _ruled_out(step: Step, found: Chart, machine: Machine) -> str:
    """Why a rung is not worth trying; empty where it may be."""
    assert step.advice and step.estimate
    if step.advice.verdict == "don't":
        return step.advice.why
    given = {answer.key: answer.value for answer in found.answers}
    if step.estimate.memory_bytes > machine.memory_bytes:
        return f"needs {step.estimate.memory_bytes / 2**30:.1f} GB of memory, and {machine.name} has {given['memory_gb']:.1f}"
    if step.estimate.once_usd > float(given["money_usd"]):
        return f"building it is quoted at ${step.estimate.once_usd:,.2f}, over needs.money_usd of ${given['money_usd']:,.2f}"
    limit = float(given["latency_ms"])
    if step.remote:  # how long a call takes is assumed, so only measuring tells
        return ""
    if limit and 1000 * step.estimate.row_seconds > BATCHED * limit:
        return f"an answer is quoted at {1000 * step.estimate.row_seconds:,.0f} ms even in a batch, and {limit:,.0f} are allowed"
    return ""


def bases_asked(steps: Sequence[Step]) -> dict[str, str]:
    """Of each rung that asks a base: which."""
    return {step.rung: step.base.start.model.name for step in steps if asks_base(step.methods)}


def yearly(cost: Cost | None) -> float:
    """What a rung costs over a year: once and twelve months at the task's volume. The order of rungs."""
    return 0.0 if cost is None else cost.once_usd + 12 * cost.per_month_usd


def break_evens(steps: Sequence[Step]) -> list[BreakEven]:
    """For any two rungs of which one is dearer to build and cheaper to ask: the volume from which that pays in a year."""
    open_ = [step for step in steps if step.estimate]
    found = []
    for light in open_:
        for heavy in open_:
            assert light.estimate and heavy.estimate
            once = heavy.estimate.once_usd - light.estimate.once_usd
            call = (light.estimate.per_1k_usd - heavy.estimate.per_1k_usd) / 1000
            if call > 0 and once >= 12 * call:  # at less than a call a month there is nothing to choose
                found.append(BreakEven(light.rung, heavy.rung, once / (12 * call)))
    return sorted(found, key=lambda one: one.volume)
