"""Corrections of cost estimates by past errors: measured over estimated, per rung, stored per machine."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from rung import files
from rung.home import home
from rung.machine import Machine
from rung.methods.estimate import CostEstimate
from rung.task.base_names import AT
from rung.types import Cost, Record, digest

FORMULA_VERSION = 7
"""Raise when the estimate formulas change, to discard errors of old formulas."""
MAX_HISTORY = 8
"""Number of recent measurements used; older ones may come from older code."""
MAX_FACTOR = 20.0
"""Maximum correction in either direction; beyond it something else is wrong."""
MIN_SECONDS = 0.5
"""Shorter times, measured or estimated, are ignored."""
MIN_BYTES = 256 * 2**20
"""Below this, the measurement is mostly Python and its libraries."""

Took = TypeVar("Took", Cost, CostEstimate)


@dataclass(frozen=True, slots=True)
class PastEstimate:
    """Measured over estimated cost of one rung, before correction. None: too short to tell."""

    key: str
    """Key of the measurement, so that none counts twice."""
    rung: str
    writes: bool
    """Whether answers are generated rather than chosen among labels."""
    fit: float | None = None
    row: float | None = None
    memory: float | None = None
    base: str = ""
    """Digest of the rung's base; empty in lines of older versions."""
    remote: bool = False
    """Whether an API was called, to fit or to answer."""


@dataclass(frozen=True, slots=True)
class Correction:
    """Correction factors for a rung's estimate, and the number of measurements behind them."""

    fit: float = 1.0
    row: float = 1.0
    memory: float = 1.0
    runs: int = 0
    own: bool = False
    """Whether they are of this rung on this base in this task, whose answers were as long as they are."""

    def beside(self, plain: CostEstimate, sampled: CostEstimate) -> Correction:
        """Without factors of seconds that a sample has corrected: those of other tasks are of other lengths."""
        return replace(
            self,
            fit=self.fit if plain.fit_seconds == sampled.fit_seconds else 1.0,
            row=self.row if plain.row_seconds == sampled.row_seconds else 1.0,
        )


def measured_against_estimate(record: Record, machine: Machine) -> PastEstimate | None:
    """A record's measured over estimated cost; None if measured on another machine or too short."""
    provenance = record.provenance
    if record.status != "done" or not record.cost or not record.scores or not provenance.raw_quote:
        return None
    if provenance.formulas != FORMULA_VERSION or speeds(provenance.machine or {}) != speeds(asdict(machine)):
        return None
    raw, took, rows = provenance.raw_quote, record.cost, record.scores.overall.n
    # a fit that resumed was timed in part, one that ended early may not do so again, and cached API calls take no time
    partial = provenance.remote or any(notes.get("resumed") or notes.get("stopped") for notes in provenance.notes or ())
    ratios = (
        None if partial else _ratio(raw.fit_seconds, took.fit_seconds, MIN_SECONDS),
        _ratio(raw.row_seconds * rows, took.row_seconds * rows, MIN_SECONDS),
        _ratio(raw.memory_bytes, took.memory_bytes, MIN_BYTES),
    )
    if not any(ratios):
        return None
    whose = provenance.base or "", bool(provenance.remote)
    return PastEstimate(provenance.key or "", record.rung.partition(AT)[0], bool(provenance.writes), *ratios, *whose)


PastEstimates = tuple[Sequence[PastEstimate], Sequence[PastEstimate]]
"""Of one task, and of all tasks on a machine."""


def past_estimates(records: Iterable[Record], machine: Machine) -> PastEstimates:
    """Past estimate errors: in these records of one task, and of all tasks on this machine."""
    return [one for record in records if (one := measured_against_estimate(record, machine))], load_history(machine)


def correction_for(
    rung: str, writes: bool, own: Sequence[PastEstimate], others: Sequence[PastEstimate], base: str = "", remote: bool = False
) -> Correction:
    """Geometric mean of past estimate errors of this rung: in this task, or else in others.

    Within the task, errors on the same base take precedence. For API calls (`remote`) only those count, because latencies of
    different servers are unrelated.
    """
    alike = [rung.partition(AT)[0], writes, remote]
    mine, theirs = [[one for one in records if [one.rung, one.writes, one.remote] == alike] for records in (own, others)]
    same = [one for one in mine if one.base == base]
    used = (same if remote else same or mine or theirs)[-MAX_HISTORY:]
    return Correction(
        _mean(one.fit for one in used),
        _mean(one.row for one in used),
        _mean(one.memory for one in used),
        len(used),
        own=bool(same),
    )


def corrected(raw: Took, scale: Correction) -> Took:
    """The estimate with corrected seconds and memory.

    Dollars must be recomputed by `price`: machine costs follow the seconds, API costs do not.
    """
    return replace(
        raw,
        fit_seconds=raw.fit_seconds * scale.fit,
        row_seconds=raw.row_seconds * scale.row,
        memory_bytes=round(raw.memory_bytes * scale.memory),
    )


def load_history(machine: Machine) -> list[PastEstimate]:
    """Past estimate errors on this machine over all tasks; damaged lines are skipped with a warning."""
    path, found = _file(machine), {}
    for number, line in files.lines(path):
        try:
            one = PastEstimate(**json.loads(line))
        except (ValueError, TypeError, RecursionError):
            warnings.warn(f"{path}, line {number} is damaged and ignored. Delete the line.", stacklevel=2)
        else:
            found[one.key] = one
    return list(found.values())


def append_history(machine: Machine, one: PastEstimate) -> None:
    """Append to the machine's file; a partial line of a killed process is removed first.

    API latencies are not properties of the machine and are not stored.
    """
    if one.remote:
        return
    files.append(_file(machine), json.dumps(asdict(one)) + "\n")


def _file(machine: Machine) -> Path:
    return home() / f"quotes-{speeds(asdict(machine))}.jsonl"


def speeds(machine: Mapping[str, Any]) -> str:
    """Digest of the measured speeds: a remeasured machine, or a named one, starts a new history."""
    return digest([FORMULA_VERSION, *(machine.get(key) for key in ("name", "gflops", "bandwidth_gbs", "dtype"))])


def _ratio(quoted: float, seen: float, least: float) -> float | None:
    return seen / quoted if min(quoted, seen) >= least else None


def _mean(ratios: Iterable[float | None]) -> float:
    logs = [math.log(ratio) for ratio in ratios if ratio is not None]
    return min(MAX_FACTOR, max(1 / MAX_FACTOR, math.exp(math.fsum(logs) / len(logs)))) if logs else 1.0
