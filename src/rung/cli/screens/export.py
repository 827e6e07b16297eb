"""What stands on the screen when an export is done: where it lies, what was compared, what the files alone do not do."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rung.cli.screens.console import styled
from rung.cli.screens.form import format_bytes
from rung.export.push import Place
from rung.export.run import Exported


def exported(rung: str, done: Exported) -> RenderableType:
    head = styled("[bold green]{}[/] exported to {} [dim]({})[/]", rung, str(done.folder), format_bytes(done.bytes))
    asked = f"Asked {done.proof.rows} dev rows beside the original, loaded by {done.proof.engine}:"
    parts: list[RenderableType] = [head, "", asked, _table(done.proof.compared())]
    if lines := done.proof.scored():
        parts += ["", _table(lines)]
    if done.limits:
        parts += ["", Text("These files alone do not do all that `rung ask` does:", "bold")]
        parts += [styled("[dim]- {}[/]", one.replace("`", "")) for one in done.limits]
    return Group(*parts, "", "README.md says how to ask it; proof.json has every difference.")


def uploading(to: Place, files: list[tuple[str, int]], data: str) -> RenderableType:
    """What is about to be uploaded, to where, and what it says of the data."""
    head = styled("\nTo be uploaded to [bold]{}[/] at {}, {}, by {}:", to.repo, to.hub.endpoint, to.seen_by, to.user)
    return Group(head, _table([(name, f"{size:,} bytes") for name, size in files]), styled("Of your data: {}.", data))


def _table(lines: list[tuple[str, str]]) -> RenderableType:
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in lines:
        table.add_row(name, value)
    return table
