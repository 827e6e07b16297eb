"""Progress of a climb: a live table, or plain lines without a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rung.cli.screens.console import above, styled
from rung.cli.screens.form import MARKS, add_column, format_interval, format_seconds, format_usd
from rung.planning.steps import Step
from rung.types import Record

PLAIN_SECONDS = 15.0
"""Interval of progress lines without a terminal."""
WIDTH = len("0.000 [0.000, 0.000]")


class Screen:
    """A live display while entered; without a terminal, occasional plain lines."""

    def __init__(self, console: Console, draw: Callable[[], RenderableType]):
        self.console, self.last_line = console, time.monotonic()
        drawn = Live(console=console, refresh_per_second=4, transient=True, get_renderable=draw)
        self.live = drawn if console.is_terminal else None
        self.lines = ExitStack()
        """What is printed meanwhile stands above the drawing."""

    def __enter__(self) -> Screen:
        if self.live:
            self.live.start()
            self.lines.enter_context(above(self.console))
        return self

    def __exit__(self, *_: object) -> None:
        self.lines.close()
        if self.live:
            self.live.stop()

    def line(self, text: RenderableType) -> None:
        """Print an event line, without a terminal only."""
        if not self.live:
            self.console.print(text)

    def throttled(self, text: str) -> None:
        """Print a progress line, at most one per interval."""
        if not self.live and time.monotonic() - self.last_line > PLAIN_SECONDS:
            self.last_line = time.monotonic()
            self.console.print(text)


class LiveBoard:
    """A board that is drawn while it is entered; the last drawing shows nothing as running."""

    screen: Screen
    now: tuple[Any, str, float] | None = None
    """What is running: its name or number, what it is doing, and the share that is done."""

    def __enter__(self) -> Self:
        self.screen.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.now = None
        self.screen.__exit__()


class Board(LiveBoard):
    """Watches a climb: a live table, or plain lines without a terminal. Several rungs may run at once."""

    def __init__(self, console: Console, goal: Any):
        self.goal = goal
        self.steps: Sequence[Step] = ()
        self.records: list[Record] = []
        self.running: dict[str, tuple[str, float]] = {}
        """What each rung that runs is doing, and the share that is done."""
        self.screen = Screen(console, self.draw)  # last, because it draws at once

    def __exit__(self, *given: object) -> None:
        self.running.clear()
        super().__exit__(*given)

    def planned(self, steps: Sequence[Step]) -> None:
        self.steps = steps

    def began(self, rung: str) -> None:
        self.running[rung] = ("", 0.0)
        self.screen.line(f"{rung} …")

    def progress(self, rung: str, text: str, share: float) -> None:
        self.running[rung] = (text, share)
        self.screen.throttled(f"  {self._whose(rung)}{share:.0%} {text}")

    def ended(self, record: Record) -> None:
        self.records.append(record)
        said = str(record.scores.overall) if record.scores else record.reason
        self.screen.line(f"  {self._whose(record.rung)}{record.status} {said}")
        self.running.pop(record.rung, None)

    def _whose(self, rung: str) -> str:
        """The rung that a line is about, where it need not be the one above it."""
        return f"{rung}: " if len(self.running) > 1 else ""

    def draw(self) -> RenderableType:
        if not self.steps:  # while answers are sampled for the estimates
            return Text("")
        table = Table(header_style="bold", box=None, pad_edge=False, padding=(0, 1, 0, 0))
        for name in ("", "rung", f"{self.goal.metric} (dev)", "fit", "p95", "a month"):
            add_column(table, name, left=name in ("", "rung") or "(dev)" in name)
        table.columns[2].min_width = WIDTH  # of a score with its interval, so that the first one moves nothing
        done = {record.rung: record for record in self.records}
        for step in self.steps:
            table.add_row(*self._row(step, done.get(step.rung)))
        doing = [styled("[cyan]▸ {}{}[/]", self._whose(rung), text) for rung, (text, _) in self.running.items() if text]
        return Group(table, *doing)

    def _row(self, step: Step, record: Record | None) -> tuple[RenderableType, ...]:
        if record and record.scores and record.cost and record.latency:
            return (
                MARKS[record.status],
                step.rung,
                format_interval(record.scores.overall),
                format_seconds(record.cost.fit_seconds),
                f"{record.latency.p95.value:.0f} ms",
                format_usd(record.cost.per_month_usd),
            )
        if record:
            return MARKS[record.status], step.rung, styled("[dim]{}[/]", record.status), "", "", ""
        if step.rung in self.running:
            bar = ProgressBar(1.0, self.running[step.rung][1], width=WIDTH)
            return styled("[cyan]▸[/]"), styled("[cyan]{}[/]", step.rung), bar, "", "", ""
        if not step.estimate:
            return " ", styled("[dim]{}[/]", step.rung), styled("[yellow]not tried[/]"), "", "", ""
        seconds, month = format_seconds(step.estimate.fit_seconds), format_usd(step.estimate.per_month_usd)
        return tuple(styled("[dim]{}[/]", cell) for cell in (" ", step.rung, "estimated", seconds, "", month))
