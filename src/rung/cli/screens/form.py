"""Formats of numbers and status marks in tables."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table
from rich.text import Text

from rung.cli.screens.console import styled
from rung.task import base_names
from rung.types import Interval

MARKS = {"done": Text("✓", "green"), "failed": Text("✗", "red"), "skipped": Text("–", "yellow")}


def format_seconds(seconds: float) -> str:
    if seconds < 0.95:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def format_usd(usd: float) -> str:
    return f"${usd:,.2f}" if usd >= 0.005 or usd == 0 else "<$0.01"


def format_bytes(count: float) -> str:
    return f"{count / 2**30:.1f} GB" if count >= 2**30 else f"{count / 2**20:.0f} MB"


def format_interval(interval: Interval) -> str:
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def add_column(table: Table, name: str, *, left: bool) -> None:
    """Add a single-line column; only rung names are folded if space is short."""
    rung = name == "rung"
    table.add_column(name, justify="left" if left else "right", no_wrap=not rung, overflow="fold" if rung else "ellipsis")


def bases_line(asked: Mapping[str, str]) -> list[Text]:
    """A legend of base names, or nothing if there is one base. `asked`: base of each rung that uses one."""
    description = base_names.describe(asked)
    return [styled("[dim]{}[/]", description)] if description else []
