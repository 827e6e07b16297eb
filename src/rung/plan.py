"""The plan: which rungs to try in which order, what each will cost, and which cannot be tried and why."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from rung import methods
from rung.data.preferences import as_example
from rung.errors import TaskError
from rung.flowchart.advise import ORDER, Advice, Chart, chart
from rung.flowchart.facts import answers
from rung.flowchart.history import Past, Scale, learn, scaled
from rung.lm.base import Decoding, ModelRef
from rung.lm.engines import Engines
from rung.lm.remote.prices import Price
from rung.lm.remote.settings import Limits, Settings, endpoint, is_remote
from rung.machine import Machine
from rung.methods.base import Facts, Family, Method, family, price, untouched
from rung.predictor import Predictor
from rung.runs import NAME
from rung.task import Task
from rung.types import Cost, Example, Need, TrainData

SAMPLE = 200
"""Rows whose tokens are counted for the quote."""

BATCHED = 3
"""A rung is ruled out by its latency only where an answer in a batch is quoted at so many times the limit."""


CALL_SECONDS = 1.0
"""Assumed of a call to a model behind an API until one is made: they take from a few tenths of a second to many."""


@dataclass(frozen=True, slots=True)
class Step:
    """One rung of the plan."""

    rung: str
    methods: tuple[Method, ...]
    quote: Cost | None
    skip: str = ""
    """Why it cannot or should not be tried; empty where it can."""
    advice: Advice | None = None
    """What the flowchart says of it."""
    raw: Cost | None = None
    """The quote before it was scaled by what earlier quotes were off by."""
    scale: Scale = Scale()


@dataclass(frozen=True, slots=True)
class BreakEven:
    """Two rungs that cost the same over a year at some volume: one is cheaper below it, the other above."""

    below: str
    above: str
    volume: float
    """Calls a month."""


def start(task: Task, data: TrainData, engines: Engines) -> Predictor:
    """The untouched Predictor that every rung begins with."""
    known, model = task.labels or {}, engines.reference(task.place(task.base))
    if is_remote(task.base) and task.needs.data_may_leave == "no" and not endpoint(task.base).in_house:
        raise TaskError(
            f"base is {task.base!r}, and needs.data_may_leave is no.",
            where="rung.yaml base",
            remedy="Name a model on this machine or in your own network, or say that the data may leave.",
        )
    return Predictor(
        kind=task.kind,
        model=model,
        encoder=task.place(task.encoder),
        instruction=task.task,
        labels=data.labels,
        descriptions=tuple(known.get(label, "") for label in data.labels),
        decoding=Decoding() if data.labels else Decoding(max_new_tokens=_room(data, model, engines)),
    )


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


def _room(data: TrainData, model: ModelRef, engines: Engines) -> int:
    """Tokens to leave an answer: twice the longest of train, up to a power of two so that a few new rows change nothing."""
    chat = engines.chat(model)
    longest = max((chat.length(example.output) for example in data.examples), default=0) if chat else 0
    return min(1024, 2 ** math.ceil(math.log2(2 * longest))) if longest else Decoding().max_new_tokens


def labels(task: Task, examples: Sequence[Example]) -> tuple[str, ...]:
    """The closed set of answers of a classify task: those of the task file, or those seen in train."""
    if task.kind != "classify":
        return ()
    return tuple(task.labels) if task.labels else tuple(sorted({example.output for example in examples}))


def count(predictor: Predictor, data: TrainData, engines: Engines) -> Facts:
    """Count tokens on a sample of train. Opens the base model's tokenizer, not its weights."""
    sample = data.examples[:SAMPLE]
    empty, _ = engines.tokens(predictor.model, predictor.render(Example("", "")), "")
    bare, _ = engines.tokens(predictor.model, replace(predictor, show_labels=False).render(Example("", "")), "")
    pairs = [engines.tokens(predictor.model, predictor.render(example), example.output) for example in sample]
    return Facts(
        train_rows=len(data.examples),
        parameters=engines.parameters(predictor.model.name),
        encoder_parameters=engines.parameters(predictor.encoder),
        shared_tokens=bare,
        input_tokens=fmean([prompt - empty for prompt, _ in pairs] or [0.0]),
        output_tokens=fmean([output for _, output in pairs] or [0.0]),
        labels=len(data.labels),
        unlabelled=len(data.unlabelled),
        document_tokens=data.documents.size // 4,
        corpus_tokens=data.corpus.size // 4,
        label_tokens=empty - bare,
        call_seconds=CALL_SECONDS if predictor.model.kind == "remote" else 0.0,
        tariff=engines.price(predictor.model),
        pairs=len(data.preferences),
        pair_tokens=max(0.0, _pair_tokens(predictor, data, engines) - empty),
    )


def _pair_tokens(predictor: Predictor, data: TrainData, engines: Engines) -> float:
    """Mean tokens of a preference: its prompt once, and its answers."""
    sizes = []
    for one in data.preferences[:SAMPLE]:
        prompt = predictor.render(as_example(one))
        known = [engines.tokens(predictor.model, prompt, answer) for answer in (one.chosen, one.rejected) if answer]
        sizes.append(known[0][0] + sum(answer for _, answer in known))
    return fmean(sizes or [0.0])


def advise(task: Task, data: TrainData, facts: Facts, machine: Machine) -> Chart:
    """The flowchart of this task, for the rungs whose needs it meets."""
    have = available(task, data, machine)
    listed: dict[str, tuple[Family | None, ...]] = {}
    for name in task.rungs or methods.usual(have):
        chain = methods.rung(name, task.methods)
        if not _missing(chain, have):
            listed[name] = tuple(family(method) for method in chain) or (Family.PROMPTING,)
    return chart(answers(task, data, facts, machine, have), listed)


def plan(
    task: Task,
    data: TrainData,
    facts: Facts,
    machine: Machine,
    advised: Chart | None = None,
    seen: tuple[Sequence[Past], Sequence[Past]] = ((), ()),
) -> list[Step]:
    """Every rung with its quote: those to do, then those to try later, each cheapest first; those ruled out come last.

    A rung that the task names is tried against any advice. `seen`: what earlier quotes were off by, in this task and
    on this machine.
    """
    found, have = advised or advise(task, data, facts, machine), available(task, data, machine)
    steps = []
    for name in task.rungs or methods.usual(have):
        chain = methods.rung(name, task.methods)
        if missing := _missing(chain, have):
            steps.append(Step(name, chain, None, f"needs {' and '.join(missing)}, which this task does not have"))
            continue
        quote = untouched(facts, machine)
        for method in chain:
            quote = method.estimate(quote, facts, machine)
        raw = price(quote, machine, task.volume, facts.tariff)
        # what this machine's quotes were off by says nothing of a server's
        scale = Scale() if facts.call_seconds else learn(name, not data.labels, *seen)
        step = Step(name, chain, scaled(raw, scale), "", found.rungs[name], raw, scale)
        reason = "" if task.rungs else _ruled_out(step, found, machine)
        steps.append(replace(step, quote=None, skip=reason) if reason else step)
    return sorted(steps, key=_place)


def _place(step: Step) -> tuple[bool, int, float]:
    verdict = step.advice.verdict if step.advice else "don't"
    return step.quote is None, ORDER.index(verdict), yearly(step.quote)


def _missing(chain: Sequence[Method], have: set[Need]) -> list[str]:
    return sorted({need for method in chain for need in method.needs} - have)


def _ruled_out(step: Step, found: Chart, machine: Machine) -> str:
    """Why a rung is not worth trying; empty where it may be."""
    assert step.advice and step.quote
    if step.advice.verdict == "don't":
        return step.advice.why
    given = {answer.key: answer.value for answer in found.answers}
    if step.quote.memory_bytes > machine.memory_bytes:
        return f"needs {step.quote.memory_bytes / 2**30:.1f} GB of memory, and {machine.name} has {given['memory_gb']:.1f}"
    if step.quote.once_usd > float(given["money_usd"]):
        return f"building it is quoted at ${step.quote.once_usd:,.2f}, over needs.money_usd of ${given['money_usd']:,.2f}"
    limit = float(given["latency_ms"])
    if limit and 1000 * step.quote.row_seconds > BATCHED * limit:
        return f"an answer is quoted at {1000 * step.quote.row_seconds:,.0f} ms even in a batch, and {limit:,.0f} are allowed"
    return ""


def available(task: Task, data: TrainData, machine: Machine) -> set[Need]:
    """What the task and the machine have of all that methods may need."""
    have = set() if is_remote(task.base) else {Need.OPEN_WEIGHTS}
    if machine.device == "cuda":
        have.add(Need.GPU)
    if data.examples:
        have.add(Need.EXAMPLES)
    if data.labels:
        have.add(Need.LABELS)
    if data.preferences:
        have.add(Need.PREFERENCES)
    if data.corpus.files:
        have.add(Need.CORPUS)
    if data.documents.files:
        have.add(Need.DOCUMENTS)
    if data.unlabelled:
        have.add(Need.UNLABELLED)
    return have


def yearly(cost: Cost | None) -> float:
    """What a rung costs over a year: once and twelve months at the task's volume. The order of rungs."""
    return 0.0 if cost is None else cost.once_usd + 12 * cost.per_month_usd


def break_evens(steps: Sequence[Step]) -> list[BreakEven]:
    """For any two rungs of which one is dearer to build and cheaper to ask: the volume from which that pays in a year."""
    open_ = [step for step in steps if step.quote]
    found = []
    for light in open_:
        for heavy in open_:
            assert light.quote and heavy.quote
            once = heavy.quote.once_usd - light.quote.once_usd
            call = (light.quote.per_1k_usd - heavy.quote.per_1k_usd) / 1000
            if call > 0 and once >= 12 * call:  # at less than a call a month there is nothing to choose
                found.append(BreakEven(light.rung, heavy.rung, once / (12 * call)))
    return sorted(found, key=lambda one: one.volume)
