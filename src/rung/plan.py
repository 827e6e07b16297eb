"""The plan: which rungs to try in which order, what each will cost, and which cannot be tried and why."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from rung import methods
from rung.lm.base import Decoding, ModelRef
from rung.lm.engines import Engines
from rung.machine import Machine
from rung.methods.base import Facts, Method, price, untouched
from rung.predictor import Predictor
from rung.task import Task
from rung.types import Cost, Example, Need, TrainData

SAMPLE = 200
"""Rows whose tokens are counted for the quote."""


@dataclass(frozen=True, slots=True)
class Step:
    """One rung of the plan."""

    rung: str
    methods: tuple[Method, ...]
    quote: Cost | None
    skip: str = ""
    """Why it cannot be tried; empty where it can."""


def start(task: Task, data: TrainData, engines: Engines) -> Predictor:
    """The untouched Predictor that every rung begins with."""
    known, model = task.labels or {}, engines.reference(task.place(task.base))
    return Predictor(
        kind=task.kind,
        model=model,
        encoder=task.place(task.encoder),
        instruction=task.task,
        labels=data.labels,
        descriptions=tuple(known.get(label, "") for label in data.labels),
        decoding=Decoding() if data.labels else Decoding(max_new_tokens=_room(data, model, engines)),
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
    )


def plan(task: Task, data: TrainData, facts: Facts, machine: Machine) -> list[Step]:
    """Every rung with its quote, cheapest first; those that cannot be tried come last with the reason."""
    have = available(task, data)
    steps = []
    for name in task.rungs or methods.RUNGS:
        chain = methods.rung(name, task.methods)
        missing = sorted({need for method in chain for need in method.needs} - have)
        if missing:
            steps.append(Step(name, chain, None, f"needs {' and '.join(missing)}, which this task does not have"))
            continue
        quote = untouched(facts, machine)
        for method in chain:
            quote = method.estimate(quote, facts, machine)
        steps.append(Step(name, chain, price(quote, machine, task.volume)))
    return sorted(steps, key=lambda step: (step.quote is None, yearly(step.quote)))


def available(task: Task, data: TrainData) -> set[Need]:
    """What the task has of all that methods may need."""
    have = {Need.OPEN_WEIGHTS}
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
