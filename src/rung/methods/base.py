"""What a method is: frozen options, needs stated as data, and two verbs, estimate (before spending) and fit."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

from rung.lm.base import ModelRef
from rung.lm.engine_kinds import can
from rung.lm.engines import Engines
from rung.lm.remote.prices import Price
from rung.machine import BYTES, Machine, width
from rung.metrics import own
from rung.predictor import Predictor
from rung.types import Cost, Example, Need, TrainData


class Family(enum.StrEnum):
    """What kind of change a method makes. The flowchart advises on families, lightest first; each method names its own."""

    BASELINE = "baselines"
    PROMPTING = "prompting"
    DEMONSTRATIONS = "demonstrations"
    RETRIEVAL = "retrieval"
    ENCODER = "small encoders"
    ADAPTERS = "adapters"
    HYBRID = "retrieval with adapters"
    """Of rungs that do both; no method is of it alone."""
    DISTILLATION = "distillation"
    FULL = "full fine-tuning"
    PREFERENCE = "preference tuning"
    REWARD = "reward tuning"
    CONTINUED = "continued pre-training"
    PRETRAINING = "pre-training"


def family(method: Method) -> Family | None:
    """The method's family; None where it names none, and then the flowchart has no advice on it."""
    return getattr(method, "family", None)


def asks_base(chain: Sequence[Method]) -> bool:
    """Whether a rung asks the base model, to fit or to answer: not where its first method says that it brings its own."""
    return not (chain and getattr(chain[0], "own_model", False))


def asks_api(chain: Sequence[Method], base: ModelRef) -> bool:
    """Whether a rung asks an endpoint, to fit or to answer: as its base or as a teacher."""
    teachers = [teacher for method in chain if (teacher := getattr(method, "teacher", ""))]
    return (asks_base(chain) and not can(base).local) or any(not can(teacher).local for teacher in teachers)


@dataclass(frozen=True, kw_only=True)
class Answerer:
    """A model that is asked, the base or a teacher: what a quote needs of it."""

    parameters: int
    call_seconds: float = 0.0
    """Seconds of a call to an endpoint, assumed; 0 where the model runs here."""
    tariff: Price | None = None
    """What it asks for tokens; None where this machine's time is the price."""
    at_once: int = 1
    """Calls that are under way at once; 1 where the model runs here: what that takes a row is quoted of a batch."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is counted in the task and its data before anything is spent. Tokens are the base model's."""

    train_rows: int
    parameters: int
    """Of the base model."""
    encoder_parameters: int
    encoder_table: int = 0
    """Of these, the table of tokens, which is looked up and not computed with."""
    shared_tokens: float
    """Tokens of the instruction, the same in every prompt; without the list of labels, which a trained model is not shown."""
    input_tokens: float
    """Mean tokens of one row's own part of the prompt."""
    output_tokens: float
    """Mean tokens of an answer."""
    room: float = 0.0
    """Tokens after which an answer is cut."""
    labels: int
    """0 where the task is not to classify."""
    unlabelled: int = 0
    """Inputs without an answer."""
    document_tokens: int = 0
    """Of all documents, guessed from their size."""
    corpus_tokens: int = 0
    """Of the raw domain text, guessed from its size."""
    label_tokens: float = 0.0
    """Tokens of the list of labels in the prompt of a model that does not know them."""
    call_seconds: float = 0.0
    """Seconds of a call to a base behind an API, assumed; 0 where the base runs here."""
    tariff: Price | None = None
    """What the base asks for tokens; None where this machine's time is the price."""
    at_once: int = 1
    """Calls to a base behind an API that are under way at once."""
    teacher: Callable[[str], Answerer] | None = field(default=None, compare=False, repr=False)
    """What a teacher takes, by the name that an option gives it: tuning also tries some that the task does not name."""
    pairs: int = 0
    """Preferences: pairs of answers, or votes."""
    pair_tokens: float = 0.0
    """Mean tokens of one's question and answers, the question counted once."""

    def of(self, teacher: str) -> Facts:
        """The same with a teacher to be asked in place of the base; itself where none is named."""
        if not teacher or not self.teacher:
            return self
        who = self.teacher(teacher)
        return replace(self, parameters=who.parameters, call_seconds=who.call_seconds, tariff=who.tariff, at_once=who.at_once)

    @property
    def encoder_computing(self) -> int:
        """Parameters of the encoder that every token is computed with."""
        return self.encoder_parameters - self.encoder_table


class Knows(enum.IntEnum):
    """Where a model that writes has learnt when to stop, and so how much it writes."""

    NOTHING = enum.auto()
    """It was told the task and no more: it goes on until it is cut."""
    EXAMPLES = enum.auto()
    """It sees examples: most answers end in time, and one of a batch seldom does."""
    ADAPTED = enum.auto()
    """Adapters were trained on the task: answers end in time, and still one of a batch seldom does."""
    TASK = enum.auto()
    """All of it was trained on the task."""


@dataclass(frozen=True, kw_only=True)
class Quote:
    """A rung's cost as it builds up method by method; turned into money by `price`."""

    fit_seconds: float = 0.0
    fit_usd: float = 0.0
    """US dollars that endpoints ask for what the fit asks them."""
    prompt_tokens: float
    """Tokens that every row computes for itself: its input and similar demonstrations, not what all rows share."""
    row_seconds: float
    memory_bytes: int
    shared_tokens: float = 0.0
    """Tokens that stand in front of every row: computed once here, paid with each call of an API."""
    output_tokens: float = 0.0
    """Tokens of an answer of the base; 0 where something else answers."""
    calls: int = 1
    """Calls that a row takes where an endpoint answers. The tokens are those of one."""
    parameters: int = 0
    """Of the model that a method made in place of the base; 0 for the base's own."""
    knows: Knows = Knows.NOTHING
    """What the model that answers has learnt of stopping."""


@dataclass(frozen=True)
class Run:
    """Where a fit works and whom it tells. Nothing here changes what is fitted but the seed."""

    folder: Path
    """A folder of the fit's own: what the Predictor needs is written here; `work/` in it survives a killed process."""
    engines: Engines
    seed: int = 0
    progress: Callable[[str, float], None] = lambda text, share: None
    """Told what is going on and how much of it is done, 0 to 1."""
    deadline: float = float("inf")
    """`time.monotonic()` after which the fit must stop with a BudgetError."""
    shared: Path | None = None
    """A folder that all fits of the task share; the index of its documents is there. Without one it is the fit's own."""
    reward: Callable[[str, Example], float] = lambda answer, example: float(
        answer.strip() in {one.strip() for one in example.accepted}
    )
    """What one answer to a row of train is worth, 0 to 1: the task's metric. Epochs are chosen and rewards given by it."""
    home: Path = Path()
    """The task's folder, which paths in options are relative to."""
    trackers: tuple[str, ...] = ()
    """Experiment trackers told of the training, by transformers' names (tensorboard, wandb, mlflow, trackio, …)."""
    notes: dict[str, Any] = field(default_factory=dict)
    """What the fit found out and the record should keep: curves, trained parameters, chosen settings."""


class Method(Protocol):
    """A way of adapting a Predictor. Options are the dataclass's fields; their docstrings are the user's help."""

    name: ClassVar[str]
    needs: ClassVar[frozenset[Need]]
    fit_version: ClassVar[int]
    """Raised when the same options and data would now give another Predictor."""

    def estimate(self, start: Quote, facts: Facts, machine: Machine) -> Quote:
        """The quote with this method added; pure and instant."""
        ...

    def fit(self, start: Predictor, data: TrainData, run: Run) -> Predictor:
        """A new Predictor; `start` stays as it is."""
        ...


def options(method: Method) -> dict[str, Any]:
    """A method's options by name."""
    return asdict(method)  # type: ignore[call-overload]  # every method is a dataclass; a Protocol cannot say so


def rewarded(method: Method, metric: str, home: Path) -> list[str]:
    """What settles the rewards of a method that learns from them, or stops by them: the metric, and the team's own code."""
    if not getattr(method, "rewarded", bool(getattr(method, "patience", 0))):
        return []
    return [metric, *own.contents(metric, home), *own.contents(getattr(method, "reward", ""), home)]


def untouched(facts: Facts, machine: Machine) -> Quote:
    """The quote of the base model asked as it is."""
    shared = facts.shared_tokens + facts.label_tokens
    return Quote(
        prompt_tokens=facts.input_tokens,
        row_seconds=answering(facts.input_tokens, shared, facts, machine, facts.labels, Knows.NOTHING),
        memory_bytes=BYTES[machine.dtype] * facts.parameters,
        shared_tokens=shared,
        output_tokens=facts.output_tokens,
    )


CHATTY = 0.6
"""Share of the room for an answer that a model fills which was shown no example, about."""
STRAYING = {Knows.EXAMPLES: 0.2, Knows.ADAPTED: 0.02}
"""Share of answers that are not ended in time, about."""
WRITING = 2
"""Times the computing of a token read that a token written takes: products with a few rows are slower than with many."""
SEEN = 2
"""Times the computing of a token read that a token written takes to attend to as many tokens as the model is wide."""
LONGEST = 3
"""Times the mean length of an answer that the longest of a batch has which a trained model writes, about."""
SURE = 1.5
"""Labels whose nodes are opened where the model is sure of them, about."""
TOGETHER = 24
"""Rows that are written side by side, about: fewer where there are few, or where each has a long prompt of its own."""


def quoted(chain: Sequence[Method], facts: Facts, machine: Machine) -> Quote:
    """The quote of a rung: of the untouched base, then of its methods one after another."""
    quote = untouched(facts, machine)
    for method in chain:
        found = method.estimate(quote, facts, machine)
        # what came before stays spent, also where a method answers with a model of its own and begins a quote of its own
        seconds, usd = max(found.fit_seconds, quote.fit_seconds), max(found.fit_usd, quote.fit_usd)
        quote = replace(found, fit_seconds=seconds, fit_usd=usd)
        if quote.parameters:
            facts = replace(facts, parameters=quote.parameters)
    return quote


def answering(own: float, front: float, facts: Facts, machine: Machine, labels: float = SURE, knows: Knows = Knows.TASK) -> float:
    """Seconds a row in a batch: choosing reads the prompt and opens the nodes of some `labels`, writing goes token by token.

    `own`: tokens of a row's own part of the prompt; `front`: of what all rows share, which is computed once and attended to by
    every token. Nodes of many rows are opened together, so they cost what tokens of a prompt cost. A model that was trained on
    the labels, or is shown similar rows, is sure of them and opens few. A batch writes until its longest answer ends. Behind an
    API it is one call, however long.
    """
    if facts.call_seconds:
        return facts.call_seconds
    if facts.labels:
        opened = facts.output_tokens * min(labels, facts.labels)
        return machine.prefill_seconds(facts.parameters, own + opened, front + own / 2)
    written, longest = _lengths(facts, knows)
    steps = machine.decode_seconds(facts.parameters, round(longest), batch=0) / TOGETHER
    reading = machine.prefill_seconds(facts.parameters, own, front + own / 2)
    seen = (front + own + written / 2) / width(facts.parameters)
    return steps + reading + (WRITING + SEEN * seen) * machine.prefill_seconds(facts.parameters, written)


def _lengths(facts: Facts, knows: Knows) -> tuple[float, float]:
    """Tokens of an answer as this model writes it: the mean, and the longest of a batch."""
    mean, room = facts.output_tokens, max(facts.output_tokens, facts.room)
    if knows is Knows.NOTHING:
        return max(mean, CHATTY * room), room
    if stray := STRAYING.get(knows):
        return (1 - stray) * mean + stray * room, room
    return mean, min(room, LONGEST * mean)


def calling(quote: Quote, rows: float, one: Quote, facts: Facts) -> Quote:
    """The quote with so many rows asked in the fit, each as `one` says, of the model that `facts` are of."""
    seconds = rows * one.row_seconds / (facts.at_once if one.output_tokens else 1)
    usd = billed(one, rows, facts.tariff) if facts.tariff else 0.0
    return replace(quote, fit_seconds=quote.fit_seconds + seconds, fit_usd=quote.fit_usd + usd)


def billed(one: Quote, rows: float, tariff: Price) -> float:
    """US dollars that an endpoint takes for so many rows; none where something else answers."""
    calls = rows * one.calls if one.output_tokens else 0.0
    return tariff.usd(round(calls * (one.shared_tokens + one.prompt_tokens)), round(calls * one.output_tokens))


def price(quote: Quote, machine: Machine, volume: int, tariff: Price | None = None) -> Cost:
    """Seconds to money: once for the fit, and by volume for the answers, which an API with a `tariff` bills by tokens."""
    per_1k = billed(quote, 1000, tariff) if tariff and quote.output_tokens else machine.usd(1000 * quote.row_seconds)
    return Cost(
        fit_seconds=quote.fit_seconds,
        row_seconds=quote.row_seconds,
        memory_bytes=quote.memory_bytes,
        once_usd=machine.usd(quote.fit_seconds) + quote.fit_usd,
        per_month_usd=per_1k * volume / 1000,
        per_1k_usd=per_1k,
    )
