"""What a person sees in a terminal: the check, the plan, the climb as it goes, the leaderboard, the decision."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rung import base_names
from rung.data.finding import Finding
from rung.plan import Step
from rung.types import Decision, Interval, Prediction, Record, Scores

PLAIN_SECONDS = 15.0
"""Where there is no terminal, a line of progress is printed so often."""

MARKS = {"done": "[green]✓[/]", "failed": "[red]✗[/]", "skipped": "[yellow]–[/]"}
VERDICTS = {"meets": "bold green", "fails": "bold red", "undecided": "bold yellow"}
SEVERITIES = {"block": "bold red", "warn": "yellow", "note": "cyan"}


def duration(seconds: float) -> str:
    if seconds < 0.95:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def dollars(usd: float) -> str:
    return f"${usd:,.2f}" if usd >= 0.005 or usd == 0 else "<$0.01"


def size(count: float) -> str:
    return f"{count / 2**30:.1f} GB" if count >= 2**30 else f"{count / 2**20:.0f} MB"


def points(interval: Interval) -> str:
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


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


def column(table: Table, name: str, *, left: bool) -> None:
    """A column whose cells stay on one line. Only names of rungs are folded where there is too little room."""
    rung = name == "rung"
    table.add_column(name, justify="left" if left else "right", no_wrap=not rung, overflow="fold" if rung else "ellipsis")


def which_bases(asked: Mapping[str, str]) -> list[str]:
    """A line on which bases the rungs' names mean; none where they mean one. `asked`: of each rung that asks a base, which."""
    told = base_names.told(asked)
    return [f"[dim]{escape(told)}[/]"] if told else []


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
            verdict = verdicts.get(record.rung, "")
            table.add_row(
                MARKS[record.status],
                record.rung,
                points(record.scores.overall),
                duration(record.cost.fit_seconds),
                f"{record.latency.p95.value:.0f} ms",
                dollars(record.cost.per_month_usd),
                *([f"{record.forgetting.rise:+.3f}" if record.forgetting else ""] if touched else []),
                f"[{VERDICTS[verdict]}]{verdict}[/]" if verdict else "",
                style=style,
            )
        else:
            table.add_row(MARKS[record.status], record.rung, f"[dim]{record.status}[/]", *[""] * (len(table.columns) - 3))
    told = [f"{MARKS[r.status]} {r.rung} {r.status}: {escape(r.reason)}" for r in records if r.reason]
    return Group(table, *told, *which_bases(bases or {}))


def outcome(decision: Decision, test: Scores | None, seals_broken: int, sealed: int) -> RenderableType:
    lines = [f"[{VERDICTS[decision.verdict]}]{decision.verdict}[/]  {escape(decision.why)}"]
    if test:
        fresh = "opened once" if seals_broken == 1 else f"shown to {seals_broken} Predictors by now, so no longer fresh"
        lines.append(f"[bold]test[/]   {test.metric} {test.overall} (sealed rows, {fresh})")
    elif sealed:
        lines.append(f"[dim]test   {sealed} rows stay sealed until a rung meets the goal[/]")
    return Group(*lines)


class Screen:
    """A drawing kept up to date while it is entered; where there is no terminal, a plain line now and then."""

    def __init__(self, console: Console, draw: Callable[[], RenderableType]):
        self.console, self.said = console, time.monotonic()
        drawn = Live(console=console, refresh_per_second=4, transient=True, get_renderable=draw)
        self.live = drawn if console.is_terminal else None

    def __enter__(self) -> Screen:
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:
            self.live.stop()

    def line(self, text: str) -> None:
        """A line of what has come about."""
        if not self.live:
            self.console.print(text)

    def seldom(self, text: str) -> None:
        """A line of what is going on, if the last is long ago."""
        if not self.live and time.monotonic() - self.said > PLAIN_SECONDS:
            self.said = time.monotonic()
            self.console.print(text)


class Board:
    """Watches a climb: a table that fills as it goes, or plain lines where there is no terminal."""

    def __init__(self, console: Console, goal: Any):
        self.goal = goal
        self.steps: Sequence[Step] = ()
        self.records: list[Record] = []
        self.now: tuple[str, str, float] | None = None
        self.screen = Screen(console, self.draw)  # last: it draws at once

    def __enter__(self) -> Board:
        self.screen.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.now = None
        self.screen.__exit__()

    def planned(self, steps: Sequence[Step]) -> None:
        self.steps = steps

    def began(self, rung: str) -> None:
        self.now = (rung, "", 0.0)
        self.screen.line(f"{rung} …")

    def progress(self, rung: str, text: str, share: float) -> None:
        self.now = (rung, text, share)
        self.screen.seldom(f"  {share:.0%} {escape(text)}")

    def ended(self, record: Record) -> None:
        self.records.append(record)
        said = str(record.scores.overall) if record.scores else record.reason
        self.screen.line(f"  {record.status} {escape(said)}")

    def draw(self) -> RenderableType:
        table = Table(header_style="bold", box=None, pad_edge=False)
        for name in ("", "rung", f"{self.goal.metric} (dev)", "fit", "p95", "a month"):
            table.add_column(name)
        done = {record.rung: record for record in self.records}
        for step in self.steps:
            table.add_row(*self._row(step, done.get(step.rung)))
        return table

    def _row(self, step: Step, record: Record | None) -> tuple[RenderableType, ...]:
        if record and record.scores and record.cost and record.latency:
            return (
                MARKS[record.status],
                step.rung,
                points(record.scores.overall),
                duration(record.cost.fit_seconds),
                f"{record.latency.p95.value:.0f} ms",
                dollars(record.cost.per_month_usd),
            )
        if record:
            return MARKS[record.status], step.rung, f"[dim]{escape(record.reason[:60])}[/]", "", "", ""
        if self.now and self.now[0] == step.rung:
            return "[cyan]▸[/]", f"[cyan]{step.rung}[/]", ProgressBar(1.0, self.now[2], width=24), *self._said()
        if not step.quote:
            return " ", f"[dim]{step.rung}[/]", f"[yellow]{escape(step.skip[:60])}[/]", "", "", ""
        quoted = f"[dim]{duration(step.quote.fit_seconds)}[/]"
        return " ", f"[dim]{step.rung}[/]", "[dim]quoted[/]", quoted, "", f"[dim]{dollars(step.quote.per_month_usd)}[/]"

    def _said(self) -> tuple[str, str, str]:
        return f"[cyan]{escape(self.now[1]) if self.now else ''}[/]", "", ""


def answer(found: Prediction) -> Text:
    """An answer with how sure it is and what it cites, or why there is none."""
    text = Text(found.output or "I don't know.")
    if found.confidence is not None:
        text.append(f"  ({found.confidence:.0%})", style="dim")
    if found.abstained:
        text.append(f"\n{found.abstained}", style="dim")
    for number, source in enumerate(found.sources, 1):
        if source.cited or found.abstained:
            text.append(f"\n[{number}] {source.where}", style="dim" if found.abstained else "cyan")
    return text
