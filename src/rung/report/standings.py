"""The report's leaderboard: each rung's state, its reason and its figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rung.decisions import Comparison, RungVerdict
from rung.report import figures
from rung.report.report_data import ReportData, change, with_interval
from rung.types import Record

State = Literal["meets", "fails", "undecided", "skipped", "failed", "not tried"]


@dataclass(frozen=True, slots=True)
class Standing:
    """A rung's line in the leaderboard."""

    rung: str
    state: State
    chosen: bool
    why: str
    asides: tuple[str, ...]
    record: Record | None
    bar: figures.Bar | None
    against: Comparison | None
    """Comparison of the chosen rung (a) with this one (b) on shared rows."""


def standings(found: ReportData, drawn: figures.Bars) -> tuple[Standing, ...]:
    """All rungs in the order of the plan."""
    bars = {record.rung: bar for record, bar in zip(found.measured, drawn.bars, strict=True)}
    records = {record.rung: record for record in found.records}
    verdicts = {v.rung: v for v in found.decision.rungs}
    against = {c.b: c for c in found.decision.comparisons}
    lines = []
    for rung in found.fits:
        record = records.get(rung)
        state, why = _state(found, record, verdicts.get(rung))
        chosen = rung == found.decision.chosen
        lines.append(Standing(rung, state, chosen, why, _asides(record), record, bars.get(rung), against.get(rung)))
    return tuple(lines)


def _state(found: ReportData, record: Record | None, verdict: RungVerdict | None) -> tuple[State, str]:
    if record is None:
        return "not tried", "The climb ended before this rung."
    if verdict is not None:
        return verdict.verdict, verdict.why
    assert record.status != "done", f"{record.rung} was measured but has no verdict"
    return record.status, record.reason


def _asides(record: Record | None) -> tuple[str, ...]:
    """Further measurements without a column."""
    if record is None or record.scores is None:
        return ()
    others = [f"{name} {with_interval(i)}" for name, i in record.scores.others.items()]
    if record.forgetting is not None:
        lost, i = record.forgetting, record.forgetting.accuracy
        others.append(
            f"loss on general text {change(lost.loss)} {lost.unit} against the untouched model, n={lost.loss.n} passages"
        )
        others.append(f"general questions answered right {change(i)}, n={i.n}")
    if errors := (record.provenance.errors or 0) - (record.provenance.failed or 0):
        others.append(f"{errors} {'row' if errors == 1 else 'rows'} failed with an error and count as wrong")
    if record.provenance.shortened:
        others.append(record.provenance.shortened_text)
    if record.scores.unscored:
        others.append(record.reason)
    return tuple(others)
