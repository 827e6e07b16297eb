"""What stands on the screen when an export is done: where it lies, what was compared, what the files alone do not do."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rung.cli.screens.console import styled
from rung.cli.screens.form import format_bytes
from rung.export.card import signed
from rung.export.proof import Proof, Scored
from rung.export.run import Exported


def exported(rung: str, done: Exported) -> RenderableType:
    head = styled("[bold green]{}[/] exported to {} [dim]({})[/]", rung, str(done.folder), format_bytes(done.bytes))
    asked = f"Asked {done.proof.rows} dev rows beside the original, loaded by {done.proof.engine}:"
    parts: list[RenderableType] = [head, "", asked, compared(done.proof)]
    if done.proof.scores:
        parts += ["", scores(done.proof.scores)]
    parts += ["", Text("These files alone do not do all that `rung ask` does:", "bold")]
    parts += [styled("[dim]- {}[/]", one.replace("`", "")) for one in done.limits]
    return Group(*parts, "", "README.md says how to ask it; proof.json has every difference.")


def compared(proof: Proof) -> RenderableType:
    table = Table(box=None, pad_edge=False, show_header=False)
    rows = [
        ("prompts rendered alike", f"{proof.rendered} of {proof.rows}"),
        ("prompts and difficult texts tokenized alike", f"{proof.cut + proof.texts_same} of {proof.rows + proof.texts}"),
        ("same greedy answer", f"{proof.answers} of {proof.rows}"),
        ("same likeliest next token", f"{proof.agreed} of {proof.places}"),
        ("largest margin of a miss", f"{proof.margin:.2g} nats, limit {proof.limits.margin:g}"),
    ]
    for name, value in rows:
        table.add_row(name, value)
    return table


def scores(found: Scored) -> RenderableType:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_row(f"{found.metric}: rung ask", str(found.rung))
    table.add_row("the original, writing freely", str(found.original))
    table.add_row("the export, writing freely", str(found.export))
    table.add_row("export less original, paired", signed(found.difference))
    if found.plainly:
        table.add_row("export less rung ask, paired", signed(found.plainly))
    return table
