"""The command that lists models, or those that suit a task."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rung.cli import base_advice
from rung.cli.common import Json, out, print_json


def models(
    for_: Annotated[
        Path | None,
        typer.Option("--for", metavar="FOLDER", help="Bases for this task: what fits its rows, its limits and this machine."),
    ] = None,
    json_: Json = False,
) -> None:
    """List known models and which are cached, or the bases that fit a task."""
    from rich.table import Table

    if for_ is not None:
        base_advice.show(for_, json_)
        return

    from rung.cli.screens.form import format_bytes
    from rung.lm.models.resolve import known

    rows = known()
    if json_:
        print_json(rows)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("name", "kind", "parameters", "cached", "licence"):
        table.add_column(name, no_wrap=name != "licence")  # a name is copied into rung.yaml
    for row in rows:
        cached = format_bytes(row.size_bytes) if row.folder else "no"
        table.add_row(row.name, row.what, f"{row.parameters / 1e6:.0f} M", cached, row.licence)
    out.print(table)
    out.print("Sources and folders with --json. Any hub id or folder may be a base; what fits a task: rung models --for FOLDER")
