"""Deciding a project's records: with the error that is left, the rungs that were proved, and those still to be measured."""

from __future__ import annotations

from collections.abc import Sequence

from rung.climbing import test_set
from rung.climbing.ledger import errors_apart, spending
from rung.climbing.project import Project
from rung.decisions import Decision
from rung.types import Record


def decide(project: Project, records: Sequence[Record], *, alone: bool = False) -> Decision:
    """The records against the goal. `alone`: one rung fitted by itself, so that nothing is said of the others."""
    found = spending(project)
    return project.criteria.decide(
        records,
        error=found.error,
        later=found.later,
        rungs=found.rungs,
        apart=errors_apart(project),
        proofs=test_set.proofs(project, records),
        test=project.inputs.splits.test,
        left={} if alone else unmeasured(project, records),
    )


def unmeasured(project: Project, records: Sequence[Record]) -> dict[str, str]:
    """Rungs that can be tried and have no measurement, each with what it would take."""
    known = {record.rung: record for record in records}
    found = {}
    for step in project.plan.steps:
        record = known.get(step.rung)
        if step.estimate and not step.usual and (record is None or record.status == "skipped"):
            quoted = f"fitting is estimated at {_duration(step.estimate.fit_seconds)}"
            found[step.rung] = record.reason.rstrip(".") if record and record.reason else quoted
    return found


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 60 else f"{seconds / 60:.1f} minutes"
