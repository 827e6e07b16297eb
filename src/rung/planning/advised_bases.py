"""Which bases of the table fit a task: this machine's memory, the latency and price asked, the language, where data may go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from rung.lm.remote.prices import KNOWN as PRICES
from rung.lm.remote.prices import Price
from rung.lm.remote.tokens import estimate_text
from rung.machine import Machine
from rung.planning.base_table import KnownBase, table
from rung.planning.languages import language
from rung.task import Task
from rung.types import Example

SPARE = 1.2
"""Memory for an answer over that of the weights alone."""
STEP = 3.0
"""How many times the parameters of the next smaller base, so that the two tell something apart."""
MOST = 3
"""Bases that `bases: auto` puts on one ladder."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a base must do for a task."""

    language: str
    """Of the inputs; empty where it is not clear."""
    tokens_in: float
    """Mean tokens of a prompt, estimated."""
    tokens_out: float
    """Mean tokens of an answer, estimated; 0 where a label is chosen."""
    longest: float
    """Tokens of the longest row."""


@dataclass(frozen=True, slots=True)
class AdvisedBase:
    """One base of the table, seen from a task and a machine."""

    base: KnownBase
    memory_bytes: int
    """Of its weights in the machine's type of numbers, with what an answer takes."""
    seconds: float | None
    """Of one answer alone, estimated; None behind an API."""
    usd_per_1k: float | None
    """Of 1,000 answers, one at a time; None where no price is known."""
    why_not: str
    """What rules it out; empty if it fits."""


def wanted(task: Task, rows: Sequence[Example]) -> Wanted:
    """What a base must do, from train rows."""
    known = ", ".join(task.labels or ()) if task.kind == "classify" else ""
    front = estimate_text(f"{task.task} {known}")
    asked = [front + estimate_text(" ".join([*(turn.content for turn in row.history), row.input])) for row in rows]
    written = [float(estimate_text(row.output)) for row in rows]
    chosen = task.kind == "classify" and not task.multilabel
    longest = max((a + b for a, b in zip(asked, written)), default=0.0)
    return Wanted(
        language([row.input for row in rows]),
        fmean(asked) if asked else float(front),
        0.0 if chosen or not written else fmean(written),
        longest,
    )


def advise(task: Task, rows: Sequence[Example], machine: Machine) -> tuple[AdvisedBase, ...]:
    """Every base of the table with what rules it out, by size, APIs last."""
    need = wanted(task, rows)
    return tuple(_advised(base, task, need, machine) for base in table()[0])


def _advised(base: KnownBase, task: Task, need: Wanted, machine: Machine) -> AdvisedBase:
    memory = round(SPARE * base.weight_bytes(machine.dtype))
    if base.parameters is None:
        seconds, usd = None, _api_usd(base, task, need)
    else:
        seconds = machine.prefill_seconds(base.parameters, need.tokens_in)
        seconds += machine.decode_seconds(base.parameters, round(need.tokens_out)) if need.tokens_out else 0.0
        usd = 1000 * machine.usd(seconds)
    return AdvisedBase(base, memory, seconds, usd, _why_not(base, task, need, machine, (memory, seconds, usd)))


def _api_usd(base: KnownBase, task: Task, need: Wanted) -> float | None:
    """Dollars for 1,000 calls, by the task's own price or the list price."""
    name = base.name.partition(":")[2]
    own = task.prices.get(name)
    price = Price(own.input, own.output) if own else PRICES.get(name)
    return 1000 * price.usd(round(need.tokens_in), max(1, round(need.tokens_out))) if price else None


def _why_not(base: KnownBase, task: Task, need: Wanted, machine: Machine, figures: tuple[int, float | None, float | None]) -> str:
    memory, seconds, usd = figures
    goal = task.goal
    if not base.local and task.needs.data_may_leave != "yes":
        return "needs.data_may_leave does not say yes"
    if memory > machine.memory_bytes:
        return f"takes {memory / 2**30:.1f} GB of memory of {machine.memory_bytes / 2**30:.1f}"
    if base.context is not None and need.longest > base.context:
        return f"its context has {base.context:,} tokens, and the longest row some {need.longest:,.0f}"
    if base.knows(need.language) is False:
        return f"its source does not name the language of the rows ({need.language})"
    if seconds is not None and goal.latency_ms is not None and 1000 * seconds > goal.latency_ms:
        return f"about {1000 * seconds:,.0f} ms an answer; the limit is {goal.latency_ms:,.0f}"
    if usd is not None and goal.usd_per_1k is not None and usd > goal.usd_per_1k:
        return f"about ${usd:,.2f} per 1,000 answers; the limit is ${goal.usd_per_1k:,.2f}"
    return ""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The bases of `bases: auto`."""

    bases: tuple[str, ...]
    """Smallest first; empty where none that fits can be had."""
    missing: tuple[str, ...]
    """Bases that fit and would be next, but can neither be found on this machine nor on a hub, largest first."""


def choose(advised: Sequence[AdvisedBase], to_be_had: Callable[[str], bool]) -> Chosen:
    """Up to MOST local bases that fit, the largest first and each a third of the one before, or less.

    `to_be_had`: whether a base is on this machine or a hub offers it.
    """
    found: list[AdvisedBase] = []
    missing: list[str] = []
    for one in sorted((one for one in advised if one.base.local and not one.why_not), key=_size, reverse=True):
        if len(found) == MOST or (found and STEP * _size(one) > _size(found[-1])):
            continue
        if to_be_had(one.base.name):
            found.append(one)
        else:
            missing.append(one.base.name)
    return Chosen(tuple(one.base.name for one in reversed(found)), tuple(missing))


def _size(one: AdvisedBase) -> int:
    return one.base.parameters or 0
