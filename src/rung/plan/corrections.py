"""What earlier quotes were off by: measured over quoted, per rung, kept per machine, and put into the next quote."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeVar

from rung import files
from rung.machine import Machine, home
from rung.methods.estimate import CostEstimate
from rung.task.base_names import AT
from rung.types import Cost, Record, digest

FORMULAS = 2
"""Raised when quotes are computed in another way: what the old ones were off by says nothing of the new."""
LAST = 8
"""Measurements that count: older ones may be of older code."""
MOST = 20.0
"""No quote is scaled by more than this, up or down: beyond it something else is wrong."""
LEAST_SECONDS = 0.5
"""What took less, or was quoted less, says more about the clock than about the quote."""
LEAST_BYTES = 256 * 2**20
"""Below this, what is measured is Python and its libraries."""

Took = TypeVar("Took", Cost, CostEstimate)


@dataclass(frozen=True, slots=True)
class Past:
    """One measured rung against its quote before any scaling. None: too short to tell."""

    key: str
    """The measurement's name, so that no line counts twice."""
    rung: str
    writes: bool
    """Whether answers are written token by token, or chosen among labels."""
    fit: float | None = None
    row: float | None = None
    memory: float | None = None
    base: str = ""
    """Digest of the base that the rung stood on; empty in a line of an older rung."""
    remote: bool = False
    """Whether an endpoint was asked, to fit or to answer."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Factors for the next quote of a rung, and how many measurements they rest on."""

    fit: float = 1.0
    row: float = 1.0
    memory: float = 1.0
    runs: int = 0


def past(record: Record, machine: Machine) -> Past | None:
    """A record's measurement against its quote; None where it was measured elsewhere, or too short."""
    told = record.provenance
    if record.status != "done" or not record.cost or not record.scores or "raw_quote" not in told:
        return None
    if told.get("formulas") != FORMULAS or _speeds(told.get("machine", {})) != _speeds(asdict(machine)):
        return None
    raw, took, rows = Cost(**told["raw_quote"]), record.cost, record.scores.overall.n
    # of a fit that went on from a kill the rest was timed, and calls that were made before take no time
    resumed = told.get("remote") or any(notes.get("resumed") for notes in told.get("notes", ()))
    ratios = (
        None if resumed else _ratio(raw.fit_seconds, took.fit_seconds, LEAST_SECONDS),
        _ratio(raw.row_seconds * rows, took.row_seconds * rows, LEAST_SECONDS),
        _ratio(raw.memory_bytes, took.memory_bytes, LEAST_BYTES),
    )
    if not any(ratios):
        return None
    whose = told.get("base", ""), bool(told.get("remote"))
    return Past(told["key"], record.rung.partition(AT)[0], bool(told["writes"]), *ratios, *whose)


def seen(records: Iterable[Record], machine: Machine) -> tuple[list[Past], list[Past]]:
    """What quotes were off by: in these records of one task, and in all tasks on this machine."""
    return [one for record in records if (one := past(record, machine))], kept(machine)


def learn(rung: str, writes: bool, own: Sequence[Past], others: Sequence[Past], base: str = "", remote: bool = False) -> Scale:
    """The geometric mean of what quotes of this rung were off by: in this task, or where it has none, in others.

    Of this task those on the same base count before those on another. Where an endpoint is asked (`remote`), nothing else
    counts: how long one takes says nothing of another, nor of this machine.
    """
    alike = [rung.partition(AT)[0], writes, remote]
    mine, theirs = [[one for one in told if [one.rung, one.writes, one.remote] == alike] for told in (own, others)]
    same = [one for one in mine if one.base == base]
    used = (same if remote else same or mine or theirs)[-LAST:]
    return Scale(_mean(one.fit for one in used), _mean(one.row for one in used), _mean(one.memory for one in used), len(used))


def scaled(raw: Took, scale: Scale) -> Took:
    """A quote corrected by what earlier ones were off by: its seconds and its memory.

    Dollars are for `price` to say again: those of this machine follow the seconds, those of an endpoint do not.
    """
    return replace(
        raw,
        fit_seconds=raw.fit_seconds * scale.fit,
        row_seconds=raw.row_seconds * scale.row,
        memory_bytes=round(raw.memory_bytes * scale.memory),
    )


def kept(machine: Machine) -> list[Past]:
    """What is known of quotes on this machine, over all tasks; a line that is damaged is left out, and said."""
    path, found = _file(machine), {}
    for number, line in files.lines(path):
        try:
            one = Past(**json.loads(line))
        except (ValueError, TypeError, RecursionError):
            warnings.warn(f"{path}, line {number} is damaged; quotes do without it. Delete the line.", stacklevel=2)
        else:
            found[one.key] = one
    return list(found.values())


def keep(machine: Machine, one: Past) -> None:
    """Add a line to the machine's file; a half line that a killed process left is cut off first.

    What an endpoint took says nothing of the machine, and is not kept for it.
    """
    if one.remote:
        return
    files.append(_file(machine), json.dumps(asdict(one)) + "\n")


def _file(machine: Machine) -> Path:
    return home() / f"quotes-{_speeds(asdict(machine))}.jsonl"


def _speeds(machine: dict) -> str:
    """A name for what raw quotes are computed from: a machine measured anew, or named, has a history of its own."""
    return digest([FORMULAS, *(machine.get(key) for key in ("name", "gflops", "bandwidth_gbs", "dtype"))])


def _ratio(quoted: float, seen: float, least: float) -> float | None:
    return seen / quoted if min(quoted, seen) >= least else None


def _mean(ratios: Iterable[float | None]) -> float:
    logs = [math.log(ratio) for ratio in ratios if ratio is not None]
    return min(MOST, max(1 / MOST, math.exp(math.fsum(logs) / len(logs)))) if logs else 1.0
