"""The base models of a task: their starting Predictors, token counts, and which rungs they can serve."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean

from rung import calls, label_sets, methods
from rung.data.preferences import as_example
from rung.errors import TaskError, TemplateError
from rung.lm.base import Decoding, ModelRef, Prompt
from rung.lm.data_policy import named, require_data_policy
from rung.lm.engine_kinds import can
from rung.lm.engines import Engines
from rung.lm.remote.settings import endpoint, is_addressed
from rung.lm.remote.tokens import estimate, estimate_text
from rung.machine import Machine
from rung.methods.base import Method
from rung.methods.chain import asks_base
from rung.methods.facts import Answerer, Facts
from rung.planning import tool_use
from rung.predictor import Predictor
from rung.task import Task, base_names
from rung.task.labels import NONE_OF_THESE, OTHER
from rung.types import Example, Need, TrainData

Tokens = Callable[[Prompt, str], tuple[int, int]]

SAMPLE_ROWS = 200
"""Rows whose tokens are counted for the estimate."""

MIN_API_ANSWER_TOKENS = 32
"""Minimum answer length for a model behind an API."""

CALL_SECONDS = 1.0
"""Assumed duration of an API call until one is measured; real calls take from tenths of a second to many seconds.

No rung is ruled out by a latency based on it.
"""


@dataclass(frozen=True)
class Base:
    """A base model: the Predictor its rungs start from, and counts by its tokenizer."""

    start: Predictor
    facts: Facts
    fault: str = ""
    """Why its chat template refuses the rows; its rungs are then skipped. Empty if it works."""


@dataclass(frozen=True, slots=True)
class RungOnBase:
    """A rung on a specific base."""

    rung: str
    """Name, with @ and the base's short name unless it is the default base."""
    methods: tuple[Method, ...]
    base: str
    """Short name."""
    missing: tuple[Need, ...]
    """Needs of its methods that this task and base do not meet."""


def on_bases(given: str, task: Task, starts: Mapping[str, Predictor], data: TrainData, machine: Machine) -> list[RungOnBase]:
    """The bases to try a rung on: the one it names, or every base that can serve it.

    A rung that uses no base is tried once. One that no base can serve is listed on the default base with its missing needs.
    TaskError for an unknown method or base.
    """
    usual, *_ = starts
    name, asked = base_names.parse(given, dict(zip(starts, task.bases or (task.base,))))
    chain = methods.rung(name, task.methods)
    found = [
        RungOnBase(
            f"{name}{base_names.AT}{base}" if base != usual and asks_base(chain) else name,
            chain,
            base,
            tuple(sorted({need for method in chain for need in method.needs} - available(begin.model, data, machine))),
        )
        for base, begin in starts.items()
    ]
    able = [place for place in found if not place.missing] or found[:1]
    if not asks_base(chain):
        return able[:1]
    return [place for place in found if place.base == asked] if asked else able


def starts(task: Task, data: TrainData, engines: Engines, rounded: bool = False) -> dict[str, Predictor]:
    """The starting Predictor of each base by short name, the default base first. `rounded`: they answer in bfloat16 untrained.

    TaskError if a base or teacher violates the data policy or would receive a foreign key; ModelError for a teacher without a
    price.
    """
    found = base_names.short(task.bases or (task.base,))
    _check_data_policy(task, found)
    for where, teacher in _teachers(task).items():
        with named(where):
            engines.price(engines.reference(teacher))
    return {name: _start(task, base, data, engines, rounded) for name, base in found.items()}


def _teachers(task: Task) -> dict[str, str]:
    """Teachers behind an API, by their place in rung.yaml, also of methods that are not tried."""
    known = {f"rung.yaml methods.{name}.teacher": str(given.get("teacher", "")) for name, given in task.methods.items()}
    return {where: teacher for where, teacher in known.items() if not can(teacher).local}


def _check_data_policy(task: Task, bases: Mapping[str, str]) -> None:
    key = "bases" if task.bases else "base"
    for base in bases.values():
        require_data_policy(task, base, f"{key} {'has' if task.bases else 'is'}", f"rung.yaml {key}")
    teachers = _teachers(task)
    for where, teacher in teachers.items():
        require_data_policy(task, teacher, "the teacher is", where)
    others = [task.judge.model if task.judge else "", *teachers.values()]
    servers = sorted({endpoint(name).url for name in (*bases.values(), *others) if is_addressed(name)})
    if task.api.key_env and len(servers) > 1:
        raise TaskError(
            f"the same key would be sent to {len(servers)} servers: {', '.join(servers)}.",
            where="rung.yaml api.key_env",
            remedy="Remove it (openai:NAME then uses OPENAI_API_KEY, a URL no key), or use one proxy for all.",
        )


def _start(task: Task, base: str, data: TrainData, engines: Engines, rounded: bool) -> Predictor:
    known, model = task.labels or ({OTHER: NONE_OF_THESE} if task.other else {}), engines.reference(task.place(base))
    if rounded and can(model).precisions:
        model = replace(model, precision="bfloat16")
    tools = tool_use.tools_for(task, model, data, engines)
    return Predictor(
        kind=task.kind,
        model=model,
        encoder=task.place(task.encoder),
        instruction=task.task,
        labels=data.labels,
        label_set=data.label_set,
        descriptions=tuple(known.get(label, "") for label in data.labels or data.label_set),
        other=OTHER if task.other else "",
        decoding=Decoding() if data.labels else tool_use.constrained(_decoding(data, model, engines), tools, data),
        tools=tools,
    )


def _decoding(data: TrainData, model: ModelRef, engines: Engines) -> Decoding:
    """How texts are sampled; of several labels a row at least as few and at most as many as a train row has."""
    found = Decoding(max_new_tokens=_answer_tokens(data, model, engines), calls=_calls(data))
    if not data.label_set:
        return found
    counts = [len(label_sets.split(row.output)) for row in data.examples] or [1, len(data.label_set)]
    return replace(found, schema=label_sets.schema(data.label_set, min(1, *counts), max(counts)))


def _calls(data: TrainData) -> bool:
    return any(calls.parse_output(example.output) for example in data.examples)


def _answer_tokens(data: TrainData, model: ModelRef, engines: Engines) -> int:
    """Maximum answer tokens: twice the longest train answer, rounded up to a power of two so that new rows rarely change it.

    For an API the length is estimated, so short answers get at least MIN_API_ANSWER_TOKENS.
    """
    answers, chat = [example.output for example in data.examples], engines.chat(model)
    if not can(model).counts_tokens:
        longest = max(map(estimate_text, answers), default=0)
        longest = max(longest, MIN_API_ANSWER_TOKENS // 2) if longest else 0
    else:
        longest = max(map(chat.length, answers), default=0) if chat else 0
    return min(1024, 2 ** math.ceil(math.log2(2 * longest))) if longest else Decoding().max_new_tokens


def count_base(start: Predictor, data: TrainData, engines: Engines, dev_rows: int = 0) -> Base:
    """The base with token counts; estimated counts and the error if its chat template refuses the rows."""
    fault = ""
    try:
        facts = count_facts(start, data, engines, partial(engines.tokens, start.model))
    except TemplateError as error:
        facts = count_facts(start, data, engines, lambda prompt, answer: (estimate(prompt), estimate_text(answer) + 1))
        fault = str(error)
    return Base(start, replace(facts, dev_rows=dev_rows), fault)


def count_facts(predictor: Predictor, data: TrainData, engines: Engines, tokens: Tokens) -> Facts:
    """Count tokens on a sample of train. Opens the tokenizer, not the weights. `tokens`: counts of prompt and answer."""
    sample = data.examples[:SAMPLE_ROWS]
    empty, _ = tokens(predictor.render(Example("", "")), "")
    bare, _ = tokens(replace(predictor, show_labels=False).render(Example("", "")), "")
    pairs = [tokens(predictor.render(example), predictor.as_written(example, example.output)) for example in sample]
    who = answerer(predictor.model.name, engines)
    return Facts(
        train_rows=len(data.examples),
        parameters=who.parameters,
        vocabulary_parameters=engines.vocabulary_parameters(predictor.model),
        layers=engines.layers(predictor.model),
        encoder_parameters=engines.parameters(predictor.encoder),
        encoder_table=engines.table(predictor.encoder),
        shared_tokens=bare,
        input_tokens=fmean([prompt - empty for prompt, _ in pairs] or [0.0]),
        output_tokens=fmean([output for _, output in pairs] or [0.0]),
        answer_lengths=tuple(output for _, output in pairs),
        max_new_tokens=0.0 if data.labels else float(predictor.decoding.max_new_tokens),
        labels=len(data.labels),
        label_set=len(data.label_set),
        unlabelled=len(data.unlabelled),
        document_tokens=data.documents.size // 4,
        corpus_tokens=data.corpus.size // 4,
        general_text=bool(data.general.files),
        label_tokens=empty - bare,
        call_seconds=who.call_seconds,
        tariff=who.tariff,
        concurrency=who.concurrency,
        teacher=partial(answerer, engines=engines),
        sizes=lambda name: (engines.parameters(name), engines.table(name)),
        pairs=len(data.preferences),
        pair_tokens=max(0.0, _pair_tokens(predictor, data, engines) - empty),
    )


def answerer(name: str, engines: Engines) -> Answerer:
    """Cost facts of calling a base or teacher."""
    if can(name).local:
        return Answerer(parameters=engines.parameters(name))
    tariff = engines.price(engines.reference(name))
    return Answerer(
        parameters=engines.parameters(name), call_seconds=CALL_SECONDS, tariff=tariff, concurrency=engines.api.concurrency
    )


def _pair_tokens(predictor: Predictor, data: TrainData, engines: Engines) -> float:
    """Mean tokens of a preference: prompt and answers."""
    sizes = []
    for one in data.preferences[:SAMPLE_ROWS]:
        prompt = predictor.render(as_example(one))
        known = [engines.tokens(predictor.model, prompt, answer) for answer in (one.chosen, one.rejected) if answer]
        sizes.append(known[0][0] + sum(answer for _, answer in known))
    return fmean(sizes or [0.0])


def available(model: ModelRef, data: TrainData, machine: Machine) -> set[Need]:
    """Needs that the task, this base and the machine meet."""
    have = {Need.OPEN_WEIGHTS} if can(model).open_weights else set()
    if machine.device == "cuda":
        have.add(Need.GPU)
    if data.examples:
        have.add(Need.EXAMPLES)
    if data.labels:
        have |= {Need.LABELS, Need.CLASSES}
    if data.label_set:
        have.add(Need.CLASSES)
    if data.preferences:
        have.add(Need.PREFERENCES)
    if data.corpus.files:
        have.add(Need.CORPUS)
    if data.documents.files:
        have.add(Need.DOCUMENTS)
    if data.unlabelled:
        have.add(Need.UNLABELLED)
    return have
