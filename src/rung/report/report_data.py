"""A decision read back for the report, and how its numbers are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter

from rung.advise.review import ReviewedPlan
from rung.decisions import Decision, RungVerdict
from rung.metrics.agreement import Agreement
from rung.report.numbers import score
from rung.types import Interval, Record, Scores


@dataclass(frozen=True, slots=True)
class ReportData:
    """decision.json, read back."""

    decision: Decision
    records: tuple[Record, ...]
    test: Scores | None
    seals_broken: int
    task: Mapping[str, Any]
    fits: Mapping[str, tuple[str, ...]]
    """All rungs of the plan, in order, with the names of their fits."""
    plan: ReviewedPlan | None = None
    """The flowchart's advice; None in decisions of older versions."""
    judge: Agreement | None = None
    """Agreement of the LLM judge with people, if a judge made the scores."""
    bases: Mapping[str, str] = field(default_factory=dict)
    """Base of each rung that uses one; empty in decisions of older versions."""
    untested: str = ""
    """Why a rung with a fair chance could not be proved."""
    spending: Mapping[str, float] | None = None
    """The error spent, as `rung.climbing.ledger.Spending`; None in decisions of older versions."""

    @property
    def measured(self) -> tuple[Record, ...]:
        return tuple(r for r in self.records if r.status == "done" and r.scores is not None)

    @property
    def chosen(self) -> Record | None:
        return next((r for r in self.measured if r.rung == self.decision.chosen), None)

    @property
    def runner_up(self) -> Record | None:
        """The best-scoring rung besides the chosen one."""
        others = [r for r in self.measured if r is not self.chosen]
        return max(others, key=lambda r: overall(r).value, default=None)

    @property
    def verdict(self) -> RungVerdict | None:
        return next((v for v in self.decision.rungs if v.rung == self.decision.chosen), None)


def read_report_data(content: Mapping[str, Any]) -> ReportData:
    """Read the content of decision.json back into frozen values."""
    return TypeAdapter(ReportData).validate_python(content)


def overall(record: Record) -> Interval:
    """The score of a measured record, with its interval."""
    assert record.scores is not None, f"{record.rung} has no scores"
    return record.scores.overall


def with_interval(i: Interval) -> str:
    """A number with its interval and n."""
    return f"{score(i.value)} [{score(i.low)}, {score(i.high)}], n={i.n}"


def change(i: Interval) -> str:
    """A difference with its interval."""
    return f"{i.value:+.3f} [{i.low:+.3f}, {i.high:+.3f}]"
