"""Progress of a climb: a table in a notebook, the command line's screen in a terminal, or nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rung.api import html
from rung.api.notices import in_notebook
from rung.climbing.climb import Watcher
from rung.planning.steps import Step
from rung.task.sections import Goal
from rung.types import Record

EVERY = 0.25
"""Seconds between two drawings of progress within a rung."""


@contextmanager
def watching(goal: Goal, wanted: bool) -> Iterator[Watcher]:
    """Something that shows the progress of a climb."""
    if not wanted:
        yield Silent()
    elif in_notebook():
        board = NotebookBoard(goal.metric)
        try:
            yield board
        finally:
            board.close()
    else:
        from rung.cli.screens.console import err
        from rung.cli.screens.progress import Board

        with Board(err, goal) as screen:
            yield screen


class Silent:
    """Shows nothing."""

    def planned(self, steps: Sequence[Step]) -> None: ...
    def began(self, rung: str) -> None: ...
    def progress(self, rung: str, text: str, share: float) -> None: ...
    def ended(self, record: Record) -> None: ...


class NotebookBoard:
    """One output under the cell, redrawn as the climb proceeds."""

    def __init__(self, metric: str):
        self.metric = metric
        self.steps: Sequence[Step] = ()
        self.records: dict[str, Record] = {}
        self.running: dict[str, tuple[str, float]] = {}
        self.begun = self.drawn = time.monotonic()
        self.handle: Any = None

    def planned(self, steps: Sequence[Step]) -> None:
        self.steps = steps
        self._draw()

    def began(self, rung: str) -> None:
        self.running[rung] = ("", 0.0)
        self._draw()

    def progress(self, rung: str, text: str, share: float) -> None:
        self.running[rung] = (text, share)
        if time.monotonic() - self.drawn > EVERY:
            self._draw()

    def ended(self, record: Record) -> None:
        self.records[record.rung] = record
        self.running.pop(record.rung, None)
        self._draw()

    def close(self) -> None:
        """Replace the table with one line; the result shows its own table."""
        done = sum(record.status == "done" for record in self.records.values())
        self._show(html.line(f"{done} of {len(self.steps)} rungs measured", f"in {time.monotonic() - self.begun:.1f} s"))

    def html(self) -> str:
        """The current table."""
        rows = [(step.rung, *self._cells(step)) for step in self.steps]
        return html.table(("rung", f"{self.metric} (dev)", ""), rows, left=("rung", ""))

    def _cells(self, step: Step) -> tuple[str, str]:
        record = self.records.get(step.rung)
        if record:
            return str(record.scores.overall) if record.scores else "", record.reason or record.status
        if step.rung in self.running:
            text, share = self.running[step.rung]
            return f"{share:.0%}", text or "…"
        return "", step.skip

    def _draw(self) -> None:
        self.drawn = time.monotonic()
        self._show(self.html())

    def _show(self, text: str) -> None:
        from IPython.display import HTML, display

        if self.handle is None:
            self.handle = display(HTML(text), display_id=True)
        else:
            self.handle.update(HTML(text))
