"""The history of each fit that was trained, for the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rung.report import figures
from rung.report.report_data import ReportData


@dataclass(frozen=True, slots=True)
class Training:
    """One fit's history: loss by step, held-out score by epoch, and further notes."""

    rung: str
    method: str
    losses: Sequence[float]
    held: Sequence[float]
    facts: tuple[str, ...]
    loss_curve: figures.Curve | None
    held_curve: figures.Curve | None


def trainings(found: ReportData) -> tuple[Training, ...]:
    """Fits with a loss history, in record order."""
    return tuple(
        _training(record.rung, f"{options.get('method', '')}{part}", notes)
        for record in found.records
        for options, given in zip(record.provenance.options or (), record.provenance.notes or ())
        for part, notes in (("", given), (", reranker", given.get("reranker", {})))
        if notes.get("losses")
    )


def _training(rung: str, method: str, notes: Mapping[str, Any]) -> Training:
    losses, held = notes["losses"], notes.get("held", [])
    planned = f" of {notes['planned_steps']:,}" if "stopped" in notes else ""
    why = f": {notes['stopped']}" if planned else ""
    facts = [f"{len(losses):,}{planned} steps{why}", f"last loss {losses[-1]:.4g}"]
    if "trained_parameters" in notes:
        facts.append(f"{notes['trained_parameters']:,} trained parameters ({notes['trained_share']:.2%} of the model)")
    if "rows_per_second" in notes:
        facts.append(f"{notes['rows_per_second']:.3g} rows per second")
    return Training(rung, method, losses, held, tuple(facts), figures.curve(losses), figures.curve(held))
