"""`rung models --for FOLDER`, and the line of `rung plan`: which bases of the table fit a task on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rung.cli.common import out, print_json

if TYPE_CHECKING:
    from rung.climbing.project import Project
    from rung.planning.advised_bases import AdvisedBase

MOST = 3
"""Bases that `rung plan` names."""


def show(folder: Path, json_: bool) -> None:
    """Print every base of the table with what it takes, and what rules it out."""
    from rung.climbing.inputs import read_inputs
    from rung.lm.this_machine import load_or_measure
    from rung.planning import base_table
    from rung.planning.advised_bases import advise, wanted
    from rung.task import load_task

    task = load_task(folder)
    rows = read_inputs(task).splits.train
    found = advise(task, rows, load_or_measure(usd_per_hour=task.machine_usd_per_hour))
    need, read = wanted(task, rows), base_table.table()[1]
    if json_:
        print_json({"read": read, "needs": asdict(need), "bases": [asdict(one) | {"cached": _cached(one)} for one in found]})
        return
    out.print(_table([one for one in found if not one.why_not]))
    for one in found:
        if one.why_not:
            out.print(f"{one.base.name}: {one.why_not}", style="dim", highlight=False)
    out.print(
        f"language of the rows: {need.language or 'not clear'}; about {need.tokens_in:,.0f} tokens in and {need.tokens_out:,.0f}"
        f" out. Estimates; a climb measures. Licences, languages and sources (read {read}) with --json.",
        highlight=False,
    )


def _table(fitting: Sequence[AdvisedBase]) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("base", no_wrap=True)
    for name in ("memory", "an answer", "1,000 answers", "published"):
        table.add_column(name)
    for one in fitting:
        table.add_row(
            one.base.name + (" (cached)" if _cached(one) else ""),
            f"{one.memory_bytes / 2**30:.1f} GB" if one.base.local else "API",
            f"{1000 * one.seconds:,.0f} ms" if one.seconds is not None else "",
            f"${one.usd_per_1k:,.3f}" if one.usd_per_1k is not None else "",
            ", ".join(f"{score.benchmark} {score.value:g}" for score in one.base.scores),
        )
    return table


def _cached(one: AdvisedBase) -> bool:
    from rung.lm.models.resolve import is_cached

    return one.base.local and is_cached(one.base.name)


def larger(project: Project) -> list[str]:
    """The largest bases of the table that fit the task and have more parameters than its own, largest first."""
    from rung.planning.advised_bases import advise

    own = max(base.facts.parameters for base in project.plan.bases.values())
    found = advise(project.task, project.inputs.splits.train, project.machine)
    fitting = [one for one in found if one.base.parameters and not one.why_not and own and one.base.parameters > own]
    return [one.base.name for one in reversed(fitting)][:MOST]
