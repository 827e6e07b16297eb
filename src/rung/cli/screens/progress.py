"""A climb as it goes: a table that fills, or plain lines where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from rung.cli.screens.console import styled
from rung.cli.screens.form import MARKS, dollars, duration, points
from rung.plan.steps import Step
from rung.types import Record

PLAIN_SECONDS = 15.0
"""Where there is no terminal, a line of progress is printed so often."""


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

    def line(self, text: RenderableType) -> None:
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
        self.screen.seldom(f"  {share:.0%} {text}")

    def ended(self, record: Record) -> None:
        self.records.append(record)
        said = str(record.scores.overall) if record.scores else record.reason
        self.screen.line(f"  {record.status} {said}")

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
            return MARKS[record.status], step.rung, styled("[dim]{}[/]", record.reason[:60]), "", "", ""
        if self.now and self.now[0] == step.rung:
            return styled("[cyan]▸[/]"), styled("[cyan]{}[/]", step.rung), ProgressBar(1.0, self.now[2], width=24), *self._said()
        if not step.estimate:
            return " ", styled("[dim]{}[/]", step.rung), styled("[yellow]{}[/]", step.skip[:60]), "", "", ""
        quoted, month = duration(step.estimate.fit_seconds), dollars(step.estimate.per_month_usd)
        return tuple(styled("[dim]{}[/]", cell) for cell in (" ", step.rung, "quoted", quoted, "", month))

    def _said(self) -> tuple[RenderableType, ...]:
        return styled("[cyan]{}[/]", self.now[1] if self.now else ""), "", ""
