"""The command that creates a task: a folder with sample rows, or with questions drafted from documents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rung.cli.common import err, out
from rung.cli.screens.console import status
from rung.errors import TaskError

KINDS = ("classify", "multilabel", "extract", "answer", "generate")


def init(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder to create; existing files are never overwritten.")],
    kind: Annotated[
        str, typer.Option(help="classify, multilabel (classify, several labels a row), extract, answer or generate.")
    ] = "classify",
    from_: Annotated[
        Path | None, typer.Option("--from", help="Draft questions from these documents, a folder or a file; sets kind to answer.")
    ] = None,
    base: Annotated[str, typer.Option(help="With --from: model that drafts, and the task's base.")] = "smollm2-135m-instruct",
    rows: Annotated[int, typer.Option(min=1, help="With --from: maximum number of questions.")] = 100,
) -> None:
    """Create a task folder to edit: rung.yaml, data/, README."""
    from rung.init import scaffold

    if kind not in KINDS:
        raise TaskError(f"kind is {kind!r}.", where="--kind", remedy=f"Use {', '.join(KINDS[:-1])} or {KINDS[-1]}.")
    if from_ is not None:
        _drafted(folder, from_, base, rows)
        return
    for path in scaffold.write(folder, kind):  # type: ignore[arg-type]  # checked above
        out.print(f"wrote {path}", soft_wrap=True)
    out.print(f"Put your rows into {folder / 'data' / 'examples.csv'}, then: rung check {folder}", soft_wrap=True)


def _drafted(folder: Path, documents: Path, base: str, rows: int) -> None:
    from rung.init import draft
    from rung.lm.engines import Engines

    engines = Engines(say=lambda text: err.print(text, style="dim"))
    with status("reading") as update:
        made, files = draft.create_task(folder, documents, engines, base, rows, lambda text, share: update(f"{share:.0%} {text}"))
    for path in files:
        out.print(f"wrote {path}", soft_wrap=True)
    out.print(f"{len(made.drafts)} questions drafted from {made.asked} passages.")
    for reason, count in made.dropped.items():
        out.print(f"{count} dropped: {reason}", style="dim")
    out.print(f"Read {folder / 'data' / 'drafts.csv'}, then: rung check {folder}", soft_wrap=True)
