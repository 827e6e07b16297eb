"""Numbers and marks as they stand in every table."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table
from rich.text import Text

from rung.cli.screens.console import styled
from rung.task import base_names
from rung.types import Interval

MARKS = {"done": Text("✓", "green"), "failed": Text("✗", "red"), "skipped": Text("–", "yellow")}


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


def column(table: Table, name: str, *, left: bool) -> None:
    """A column whose cells stay on one line. Only names of rungs are folded where there is too little room."""
    rung = name == "rung"
    table.add_column(name, justify="left" if left else "right", no_wrap=not rung, overflow="fold" if rung else "ellipsis")


def which_bases(asked: Mapping[str, str]) -> list[Text]:
    """A line on which bases the rungs' names mean; none where they mean one. `asked`: of each rung that asks a base, which."""
    told = base_names.told(asked)
    return [styled("[dim]{}[/]", told)] if told else []
