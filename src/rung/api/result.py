"""What `rung.climb`, `rung.fit` and `rung.plan` return: frozen values that a notebook shows as tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rung.api import html
from rung.data.finding import Finding
from rung.decisions import Claim, Decision, Verdict
from rung.errors import RungError
from rung.report.numbers import millis, money, seconds
from rung.types import Interval, Record

if TYPE_CHECKING:
    from rung.api.predictor import Predictor
    from rung.climbing.project import Project


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """What a climb, or one rung fitted alone, comes to. In a notebook it shows itself as the leaderboard.

    Attributes:
        decision: The verdict on the goal with its reason, each rung's verdict, paired comparisons.
        records: Of each rung: scores of every row, costs, latency, provenance.
        test: The score on the sealed rows, the one to quote; None while they are sealed.
        untested: Why `test` is None though the goal is met; empty otherwise.
        metric: What scores are: `accuracy`, `token_f1`, …; from 0 to 1.
        bases: The model that each rung starts from, by the rung's name.

    ```python
    result = rung.climb(task)
    if result.verdict == "meets":
        print(result.chosen, result.test.low, result.test.high)
    ```
    """

    decision: Decision
    records: tuple[Record, ...]
    test: Interval | None
    untested: str
    metric: str
    bases: Mapping[str, str]
    _project: Project

    @property
    def verdict(self) -> Verdict:
        """`meets`, `fails` or `undecided`."""
        return self.decision.verdict

    @property
    def why(self) -> str:
        """The reason of the verdict, in a sentence."""
        return self.decision.why

    @property
    def claim(self) -> Claim | None:
        """What the held-out rows prove of the chosen rung: `at_least` with `confidence`; None if it was not proved on them."""
        return self.decision.claim

    @property
    def chosen(self) -> str:
        """The cheapest rung that meets the goal, else the best to go on with; empty where none was measured."""
        return self.decision.chosen

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The leaderboard as a list of dicts, in the order tried.

        `score` with its interval `low` to `high` over `n` dev rows, `fit_s` in seconds, `p95_ms` in milliseconds, `usd_per_month`
        and `usd_per_1k` calls in US dollars. None for what was not measured; `reason` says why.
        """
        verdicts = {one.rung: one.verdict for one in self.decision.rungs}
        return [_row(record, self.bases.get(record.rung), verdicts.get(record.rung)) for record in self.records]

    @property
    def leaderboard(self) -> Any:
        """`rows` as a pandas DataFrame; where pandas is not installed, as the list of dicts."""
        return frame(self.rows)

    @cached_property
    def predictor(self) -> Predictor:
        """What answers as the chosen rung. RungError where no rung was measured."""
        from rung.api.predictor import fitted

        if not self.chosen:
            raise RungError("no rung was measured.", where=str(self._project.task.folder), remedy=self.why)
        return fitted(self._project, self.chosen)

    def __repr__(self) -> str:
        number = f", {self.metric} {self.test} on the test rows" if self.test else ""
        return f"<Result: {self.verdict}, {self.chosen or 'nothing chosen'}{number}; {len(self.records)} rungs>"

    def report(self, to: str | Path | None = None) -> Path:
        """Write the HTML report of the last climb, by default `report.html` in the task's folder; returns where it is."""
        from rung import report

        return report.write(self._project, Path(to) if to is not None else None)

    def _repr_html_(self) -> str:
        rows = self.rows
        touched = any(row["forgetting"] is not None for row in rows)
        columns = ["rung", self.metric, "n", "fit", "p95", "a month", *(["forgets"] if touched else []), "goal"]
        shown = [_shown(row, touched) for row in rows]
        parts = [html.table(columns, shown, left=("rung", "goal"), bold=[row["rung"] == self.chosen for row in rows])]
        parts += [html.line(f"{row['rung']} {row['status']}", row["reason"]) for row in rows if row["reason"]]
        parts.append(html.line(self.verdict, self.why))
        if self.test:
            parts.append(html.line("test", f"{self.metric} {self.test} (sealed rows)"))
        else:
            parts.append(html.line("test", self.untested or "the sealed rows were not opened"))
        return "".join(parts)


@dataclass(frozen=True, eq=False, repr=False)
class Plan:
    """The rungs that a climb would try, in order, each with what it is expected to cost. Nothing is fitted for it.

    Attributes:
        rows: Of each rung: `rung`, `base`, `advice` and `why` of the flowchart; `fit_s` and `answer_s` in seconds, `memory_gb`,
            `once_usd` and `usd_per_month`. `skip` says why a rung cannot be tried; its estimates are None.
        first: The rung that the flowchart advises to try first.
        machine: What it is estimated for.

    ```python
    sum(row["fit_s"] or 0 for row in rung.plan(task).rows)
    ```
    """

    rows: tuple[Mapping[str, Any], ...]
    first: str
    machine: str

    @property
    def table(self) -> Any:
        """`rows` as a pandas DataFrame; where pandas is not installed, as a list of dicts."""
        return frame([dict(row) for row in self.rows])

    def __repr__(self) -> str:
        return f"<Plan: {self.first} first; {len(self.rows)} rungs>"

    def _repr_html_(self) -> str:
        columns = ["rung", "advice", "fit", "an answer", "once", "a month", "why"]
        shown = [[row["rung"], row["advice"], *_estimates(row), row["skip"] or row["why"]] for row in self.rows]
        made = html.table(columns, shown, left=("rung", "advice", "why"), bold=[row["rung"] == self.first for row in self.rows])
        return made + html.line(self.machine, "Estimates; a climb measures.")


class Findings(tuple[Finding, ...]):
    """What a check found, gravest first: a tuple that a notebook shows as a table."""

    def _repr_html_(self) -> str:
        rows = [(one.severity, f"{one.what} ({one.places})" if one.where else one.what, one.remedy) for one in self]
        return html.table(("severity", "finding", "what to do"), rows, left=("severity", "finding", "what to do"))


def frame(rows: list[dict[str, Any]]) -> Any:
    """Rows as a DataFrame where pandas is installed."""
    if find_spec("pandas") is None:
        return rows
    import pandas

    return pandas.DataFrame(rows)


def _row(record: Record, base: str | None, verdict: Verdict | None) -> dict[str, Any]:
    score, cost, latency = record.scores, record.cost, record.latency
    return {
        "rung": record.rung,
        "base": base,
        "status": record.status,
        "verdict": verdict,
        "score": score.overall.value if score else None,
        "low": score.overall.low if score else None,
        "high": score.overall.high if score else None,
        "n": score.overall.n if score else None,
        "fit_s": cost.fit_seconds if cost else None,
        "p95_ms": latency.p95.value if latency else None,
        "usd_per_month": cost.per_month_usd if cost else None,
        "usd_per_1k": cost.per_1k_usd if cost else None,
        "forgetting": record.forgetting.rise if record.forgetting else None,
        "reason": record.reason,
    }


def _shown(row: Mapping[str, Any], touched: bool) -> list[str]:
    """A row of the leaderboard as texts."""
    if row["score"] is None:
        return [row["rung"], row["status"], *[""] * (4 + touched), row["verdict"] or ""]
    lost = "" if row["forgetting"] is None else f"{row['forgetting']:+.3f}"
    return [
        row["rung"],
        f"{row['score']:.3f} [{row['low']:.3f}, {row['high']:.3f}]",
        str(row["n"]),
        seconds(row["fit_s"]),
        f"{millis(row['p95_ms'])} ms",
        money(row["usd_per_month"]),
        *([lost] if touched else []),
        row["verdict"] or "",
    ]


def _estimates(row: Mapping[str, Any]) -> list[str]:
    if row["fit_s"] is None:
        return [""] * 4
    return [seconds(row["fit_s"]), seconds(row["answer_s"]), money(row["once_usd"]), money(row["usd_per_month"])]
