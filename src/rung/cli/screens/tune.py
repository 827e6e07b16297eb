"""Output of `rung tune`: progress of the trials, time left, and the verdict."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rung.cli.screens.console import styled
from rung.cli.screens.form import format_seconds
from rung.cli.screens.progress import LiveBoard, Screen
from rung.tune.run import Tuning
from rung.tune.trials import Trial, pace

VERDICTS = {"gain": ("gain", "bold green"), "no gain": ("no gain", "bold yellow"), "untold": ("undecided", "bold red")}
"""A stored verdict as it is shown, with its style."""
STYLES = {"left": "green", "failed": "red", "unanswered": "red", "lost": "yellow", "stopped": "yellow", "not begun": "yellow"}


def result(found: Tuning) -> RenderableType:
    """The table of trials, the rows used, and the verdict."""
    looks, conclusion = ", ".join(map(str, found.looks)), found.conclusion
    return Group(
        table(found.trials, found.metric, best=conclusion.best),
        styled(
            "[dim]fitted on {} rows of train, scored on the other {} (stages after {})[/]", found.fitted_on, found.rows, looks
        ),
        styled("{}  {}", Text(*VERDICTS[conclusion.verdict]), conclusion.why),
    )


def table(trials: Sequence[Trial], metric: str, best: int | None = None, now: tuple[int, str, float] | None = None) -> Table:
    """One line per trial; the running one with its progress."""
    made = Table(header_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    made.add_column("")
    made.add_column("trial", overflow="fold", min_width=24)
    made.add_column(metric, no_wrap=True)
    made.add_column("fit", justify="right", no_wrap=True)
    made.add_column("")
    for i, one in enumerate(trials):
        estimate = styled("[dim]{}[/]", format_seconds(one.estimate.fit_seconds))
        made.add_row(
            str(i),
            one.name,
            str(one.score) if one.score else "",
            format_seconds(one.fit_seconds) if one.fit_seconds else estimate,
            Group(ProgressBar(1.0, now[2], width=24), now[1]) if now and now[0] == i else _standing(one),
            style="bold" if i == best else "",
        )
    return made


def fitting_left(trials: Sequence[Trial]) -> float:
    """Estimated seconds until all are fitted, corrected by the pace of those already fitted."""
    return pace(trials) * sum(one.estimate.fit_seconds for one in trials if one.status == "waiting")


def _standing(one: Trial) -> Text:
    return styled("{}", Text(f"{one.status} {one.reason}".strip(), STYLES.get(one.status, "dim")))


class Board(LiveBoard):
    """Watches a tuning run: a live table, or plain lines without a terminal."""

    def __init__(self, console: Console, metric: str):
        self.metric = metric
        self.trials: tuple[Trial, ...] = ()
        self.now = None
        self.screen = Screen(console, self.draw)  # last, because it draws at once

    def changed(self, trials: Sequence[Trial]) -> None:
        moved = [(i, new) for i, (old, new) in enumerate(zip(self.trials, trials)) if old != new]
        self.trials = tuple(trials)
        for i, one in moved:
            if one.status in ("left", "dropped"):  # shown in the result
                continue
            seen = f"{one.score} " if one.score else ""
            self.screen.line(styled("{} {}: {}{}", i, one.name, seen, _standing(one)))

    def progress(self, trial: int, text: str, share: float) -> None:
        self.now = (trial, text, share)
        self.screen.throttled(f"  {trial} {share:.0%} {text}{self._left()}")

    def draw(self) -> RenderableType:
        return Group(table(self.trials, self.metric, now=self.now), styled("[dim]{} trials{}[/]", len(self.trials), self._left()))

    def _left(self) -> str:
        left = fitting_left(self.trials)
        return f"; fitting takes about {format_seconds(left)} more" if left else ""
