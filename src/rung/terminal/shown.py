"""What stands on the screen when a command is through: the check, the leaderboard, the decision, an answer."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from rung.data.finding import Finding
from rung.measure.spread import Spread, spreads
from rung.terminal.form import MARKS, column, dollars, duration, points, which_bases
from rung.types import Decision, Prediction, Record, Scores, Verdict

VERDICTS = {"meets": "bold green", "fails": "bold red", "undecided": "bold yellow"}
SEVERITIES = {"block": "bold red", "warn": "yellow", "note": "cyan"}


def findings(found: Sequence[Finding]) -> RenderableType:
    table = Table(box=None, pad_edge=False, show_header=False)
    for finding in found:
        places = f" ({'; '.join(finding.where)})" if finding.where else ""
        text = f"{escape(finding.what)}[dim]{escape(places)}[/]" + (
            f"\n[italic]{escape(finding.remedy)}[/]" if finding.remedy else ""
        )
        table.add_row(f"[{SEVERITIES[finding.severity]}]{finding.severity}[/]", text)
    return table


def masked(pieces: Sequence[tuple[str, bool]]) -> RenderableType:
    """One training row as the model sees it; what it learns to say is coloured."""
    text = Text("one row as a trainable model sees it (")
    text.append("coloured", style="black on green")
    text.append(": what it learns to say)\n\n")
    for piece, target in pieces:
        text.append(piece.replace("\n", "⏎\n"), style="black on green" if target else "dim")
    return text


def leaderboard(
    records: Sequence[Record], decision: Decision, goal: Any, bases: Mapping[str, str] | None = None
) -> RenderableType:
    verdicts = {verdict.rung: verdict.verdict for verdict in decision.rungs}
    rows = max((record.scores.overall.n for record in records if record.scores), default=0)
    touched = any(record.forgetting for record in records)
    table = Table(
        header_style="bold", box=None, pad_edge=False, padding=(0, 1, 0, 0)
    )  # fits 80 columns; --json and the report tell more
    forgets = ["forgets"] if touched else []
    for name in ("", "rung", f"{goal['metric']} (dev, n={rows})", "fit", "p95", "a month", *forgets, "goal"):
        column(table, name, left=name in ("", "rung", "goal"))
    for record in records:
        style = "bold" if record.rung == decision.chosen else ""
        if record.scores and record.cost and record.latency:
            table.add_row(
                MARKS[record.status],
                record.rung,
                points(record.scores.overall),
                duration(record.cost.fit_seconds),
                f"{record.latency.p95.value:.0f} ms",
                dollars(record.cost.per_month_usd),
                *([f"{record.forgetting.rise:+.3f}" if record.forgetting else ""] if touched else []),
                _verdict(verdicts.get(record.rung)),
                style=style,
            )
        else:
            blank = [""] * (len(table.columns) - 4)
            table.add_row(
                MARKS[record.status], record.rung, f"[dim]{record.status}[/]", *blank, _verdict(verdicts.get(record.rung))
            )
    told = [f"{MARKS[r.status]} {r.rung} {r.status}: {escape(r.reason)}" for r in records if r.reason]
    return Group(table, *told, *map(_spread, spreads(records)), *which_bases(bases or {}))


def _verdict(verdict: Verdict | None) -> str:
    return f"[{VERDICTS[verdict]}]{verdict}[/]" if verdict else ""


def _spread(one: Spread) -> str:
    ends = f"{one.range.low:.3f} to {one.range.high:.3f}, n={one.range.n} of train"
    return f"[dim]{escape(one.rung)}: {one.tried} prompts that differ in {one.what} alone score {ends}[/]"


def verdict(decision: Decision) -> str:
    """The verdict on the goal and why, as markup."""
    return f"{_verdict(decision.verdict)}  {escape(decision.why)}"


def outcome(decision: Decision, test: Scores | None, seals_broken: int, sealed: int, untested: str = "") -> RenderableType:
    lines = [verdict(decision)]
    if test:
        fresh = "opened once" if seals_broken == 1 else f"shown to {seals_broken} Predictors by now, so no longer fresh"
        lines.append(f"[bold]test[/]   {test.metric} {test.overall} (sealed rows, {fresh})")
    elif untested:
        lines.append(f"[bold yellow]test[/]   {escape(untested)}")
    elif sealed:
        lines.append(f"[dim]test   {sealed} rows stay sealed until a rung meets the goal[/]")
    return Group(*lines)


def printable(text: str) -> str:
    """A model's text without what would steer the terminal: titles, colours, the clipboard."""
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) != "Cc")


def answer(found: Prediction) -> Text:
    """An answer with how sure it is and what it cites, or why there is none."""
    text = Text(printable(found.output) or "I don't know.")
    if found.confidence is not None:
        text.append(f"  ({found.confidence:.0%})", style="dim")
    if found.abstained:
        text.append(f"\n{found.abstained}", style="dim")
    for number, source in enumerate(found.sources, 1):
        if source.cited or found.abstained:
            text.append(f"\n[{number}] {source.where}", style="dim" if found.abstained else "cyan")
    return text
