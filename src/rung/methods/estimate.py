"""What a rung is expected to cost before it runs: seconds, memory and dollars, built up method by method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rung.lm.remote.prices import Price
from rung.machine import BYTES, Machine, width
from rung.methods.facts import Facts
from rung.methods.written import Seen, lengths
from rung.methods.written import StopBehaviour as StopBehaviour
from rung.types import Cost


@dataclass(frozen=True, kw_only=True)
class SharedPassages:
    """Lists of passages that several training rows see, so that a step computes them once."""

    tokens: float
    """Of the passages of a row."""
    rows: float
    """Rows that see a list which is shared, on average; at least 1."""
    alone: float
    """Share of the rows that see a list of their own."""

    def saved(self, most: int) -> float:
        """Tokens that a row does not compute, on average, if at most `most` rows of a step see the same passages.

        A list of many rows comes in several runs, of which the last is half as long as `most`, on average.
        """
        computed = min(1.0, max(1 / self.rows, 1 / most + 0.5 / self.rows))
        return self.tokens * (1 - self.alone) * (1 - computed)


@dataclass(frozen=True, kw_only=True)
class CostEstimate:
    """A rung's expected cost so far, before it is turned into money by `price`."""

    fit_seconds: float = 0.0
    fit_usd: float = 0.0
    """US dollars that endpoints charge for the calls of the fit."""
    prompt_tokens: float
    """Tokens computed for each row: its input and similar demonstrations, not what all rows share."""
    row_seconds: float
    memory_bytes: int
    shared_passages: SharedPassages | None = None
    """Of `prompt_tokens`, those of passages that other training rows see too."""
    shared_tokens: float = 0.0
    """Tokens in front of every row: computed once here, paid with each call of an API."""
    output_tokens: float = 0.0
    """Tokens of an answer of the base; 0 if something else answers."""
    calls: int = 1
    """Calls a row takes if an endpoint answers. The token counts are those of one call."""
    parameters: int = 0
    """Of the model that a method made in place of the base; 0 for the base's own."""
    stop_behaviour: StopBehaviour = StopBehaviour.NOTHING
    """Of the model that answers."""


DECODE_FACTOR = 2
"""Cost of a generated token over that of a prompt token: matrix products with a few rows are slower than with many."""
ATTENTION_FACTOR = 2
"""Cost for a generated token to attend to as many tokens as the model is wide, over the cost of a prompt token."""
OPENED_LABELS = 1.5
"""Labels whose nodes are computed if the model is sure of its choice, about."""
PROCESS_BYTES = 450_000_000
"""Memory of a process on a CPU that has loaded torch and transformers, without a model. On a GPU it is not the GPU's."""
ACTIVATION_BYTES = 160
"""Of a token in training, times the square root of the model's parameters: 1.8 MB for SmolLM2-135M, measured."""
ANSWERING_TOKENS = 200
"""Tokens whose activations in training take what answering takes beside the weights: caches and logits, about."""
DECODE_BATCH = 24
"""Rows decoded side by side, about: fewer if there are few, or if each has a long prompt of its own."""


def estimate_base(facts: Facts, machine: Machine) -> CostEstimate:
    """The estimate of the untouched base."""
    shared = facts.shared_tokens + facts.label_tokens
    answering = process_bytes(machine) + activation_bytes(facts.parameters, ANSWERING_TOKENS)
    return CostEstimate(
        prompt_tokens=facts.input_tokens,
        row_seconds=answer_seconds(facts.input_tokens, shared, facts, machine, facts.labels, StopBehaviour.NOTHING),
        memory_bytes=0 if facts.call_seconds else answering + BYTES[machine.dtype] * facts.parameters,
        shared_tokens=shared,
        output_tokens=facts.output_tokens,
    )


def process_bytes(machine: Machine) -> int:
    """What the memory of the device with the model holds beside models."""
    return PROCESS_BYTES if machine.device == "cpu" else 0


def activation_bytes(parameters: int, tokens: int) -> int:
    """What training stores of so many tokens between the forward and the backward pass."""
    return tokens * ACTIVATION_BYTES * round(parameters**0.5)


def answer_seconds(
    own: float,
    front: float,
    facts: Facts,
    machine: Machine,
    labels: float = OPENED_LABELS,
    stop: StopBehaviour = StopBehaviour.TRAINED,
) -> float:
    """Seconds a row takes in a batch.

    `own`: tokens of a row's own part of the prompt; `front`: tokens that all rows share, computed once and attended to by every
    token. Choosing a label reads the prompt and computes the nodes of about `labels` labels; the nodes of many rows are computed
    together, so they cost what prompt tokens cost. A model that was trained on the labels, or is shown similar rows, is sure of
    its choice and computes few. Generating goes token by token until the longest answer of the batch ends. A call to an API
    counts as one call, however long.
    """
    if facts.call_seconds:
        return facts.call_seconds
    if facts.labels:
        opened = facts.output_tokens * min(labels, facts.labels)
        return machine.prefill_seconds(facts.parameters, own + opened, front + own / 2)
    batch = min(DECODE_BATCH, facts.dev_rows or DECODE_BATCH)
    found = lengths(facts.right_lengths, facts.max_new_tokens, stop, batch, facts.seen.get(stop, Seen()))
    steps = machine.decode_seconds(facts.parameters, round(found.longest), batch=0) / batch
    return steps + _row_seconds(own, front, found.mean, facts.parameters, machine)


def batch_seconds(rows: Sequence[tuple[float, float]], front: float, parameters: int, machine: Machine) -> float:
    """Seconds that a batch takes which is alone. `rows`: tokens of each row's own part of the prompt, and of its answer.

    `front`: tokens that all rows share.
    """
    steps = machine.decode_seconds(parameters, round(max(written for _, written in rows)), batch=0)
    reading = machine.prefill_seconds(parameters, front, front / 2)
    return steps + reading + sum(_row_seconds(own, front, written, parameters, machine) for own, written in rows)


def _row_seconds(own: float, front: float, written: float, parameters: int, machine: Machine) -> float:
    """Seconds in which a row's own part is read and its answer computed, without those that the steps of its batch share."""
    reading = machine.prefill_seconds(parameters, own, front + own / 2)
    seen = (front + own + written / 2) / width(parameters)
    return reading + (DECODE_FACTOR + ATTENTION_FACTOR * seen) * machine.prefill_seconds(parameters, written)


def with_calls(before: CostEstimate, rows: float, one: CostEstimate, facts: Facts) -> CostEstimate:
    """The estimate with this many rows asked during the fit. `one`: a row's cost; `facts`: of the model that is asked."""
    seconds = rows * one.row_seconds / (facts.concurrency if one.output_tokens else 1)
    usd = api_usd(one, rows, facts.tariff) if facts.tariff else 0.0
    return replace(before, fit_seconds=before.fit_seconds + seconds, fit_usd=before.fit_usd + usd)


def api_usd(one: CostEstimate, rows: float, tariff: Price) -> float:
    """US dollars that an endpoint charges for this many rows; 0 if something else answers."""
    calls = rows * one.calls if one.output_tokens else 0.0
    return tariff.usd(round(calls * (one.shared_tokens + one.prompt_tokens)), round(calls * one.output_tokens))


def price(found: CostEstimate, machine: Machine, volume: int, tariff: Price | None = None) -> Cost:
    """The estimate in dollars: once for the fit, and by monthly `volume` for the answers, which a `tariff` bills by tokens."""
    per_1k = api_usd(found, 1000, tariff) if tariff and found.output_tokens else machine.usd(1000 * found.row_seconds)
    return Cost(
        fit_seconds=found.fit_seconds,
        row_seconds=found.row_seconds,
        memory_bytes=found.memory_bytes,
        once_usd=machine.usd(found.fit_seconds) + found.fit_usd,
        per_month_usd=per_1k * volume / 1000,
        per_1k_usd=per_1k,
    )
