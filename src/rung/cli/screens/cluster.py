"""Training rungs on one to many GPUs, as `rung plan --machine` prints them."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table

from rung.cli.screens.console import styled
from rung.cli.screens.form import add_column, format_bytes, format_seconds, format_usd
from rung.planning.cluster import ClusterQuote, TrainingQuote

BILLION = 1e9
TORCHTITAN = " torchtitan and Megatron-LM do where all weights are trained: rung plan --torchtitan FOLDER."


def cluster(found: ClusterQuote) -> RenderableType:
    """A table of fits by the number of GPUs, and from which size on weights must be split."""
    if not found.rungs:
        return styled("[dim]No rung of the plan trains a language model.[/]")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("training", "memory each", "GPUs", "fit", "dollars"):
        add_column(table, name, left=name == "training")
    for rung in found.rungs:
        for k, one in enumerate(rung.on):
            first = (rung.rung, format_bytes(rung.memory_bytes)) if k == 0 else ("", "")
            cells = (f"{one.gpus}", format_seconds(one.seconds), format_usd(one.usd))
            table.add_row(*first, *cells, style="" if rung.fits else "yellow")
    whole = any(rung.whole for rung in found.rungs)
    each = f"{found.memory_bytes / BILLION:.0f} GB, {format_usd(found.usd_per_hour)} an hour"
    return Group(
        table,
        styled("One {} ({}) is enough for models of up to:", found.gpu, each),
        *(styled("  {}: {}", rung.rung, _size(rung)) for rung in found.rungs),
        styled("Larger ones must be split over GPUs, which rung does not do.{}", TORCHTITAN if whole else ""),
        *(styled("[dim]{}[/]", line) for line in found.assumptions),
    )


def _size(rung: TrainingQuote) -> str:
    least = f"{rung.largest / BILLION:.2g} billion parameters" if rung.largest else "less than a million parameters"
    return least if rung.fits else f"{least}; this one does not fit, and its states alone take {rung.split_over} of them"
