"""What `rung check --fix` did: row by row, the files written, and the lines of rung.yaml to change."""

from __future__ import annotations

from collections import Counter

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rung.cli.screens.console import styled
from rung.data.cleaned import Cleaned
from rung.data.repair import Repair
from rung.labelling.ending import data_lines
from rung.visible import one_line

MAX_ROWS = 50
"""Rows listed; the file with the record has all."""
STYLES = {"removed": "yellow", "set aside": "red", "relabelled": "cyan"}


def changes(found: Repair, made: Cleaned) -> RenderableType:
    """All of it."""
    if not found.changes:
        return Group(*map(Text, found.notes), "There is nothing to mend; no file was written.")
    table = Table(box=None, pad_edge=False, show_header=False)
    for change in list(found.changes.values())[:MAX_ROWS]:
        place = f"{one_line(change.where)}{f' ({change.split})' if change.split else ''}"
        table.add_row(Text(change.did, STYLES[change.did], no_wrap=True), place, one_line(change.why))
    more = len(found.changes) - MAX_ROWS
    counts = Counter(change.did for change in found.changes.values())
    lines: list[RenderableType] = [table]
    lines += [Text(f"and {more} more, all in {one_line(str(made.record))}", "dim")] if more > 0 else []
    lines += [*map(Text, found.notes), Text()]
    lines.append(styled("[bold]{}[/]", ", ".join(f"{count} {did}" for did, count in counts.items())))
    lines += [Text(f"wrote {one_line(str(path))}") for path in made.files]
    if made.set_aside:
        lines.append(Text(f"wrote {one_line(str(made.set_aside))}: decide on these rows, and put them back where they belong"))
    lines.append(Text(f"wrote {one_line(str(made.record))}: what was done with each row"))
    lines.append(Text("Your own files are unchanged. To use the copies, change rung.yaml to"))
    lines.append(styled("[cyan]{}[/]", data_lines(made.data)))
    return Group(*lines)
