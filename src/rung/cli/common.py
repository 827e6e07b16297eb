"""What all commands share: consoles, arguments, JSON output."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rung.cli.screens.console import err, out
from rung.visible import json_text

if TYPE_CHECKING:
    from rung.climbing.project import Project
    from rung.machine import Machine

__all__ = ["Folder", "Json", "Rung", "err", "folder_and_rung", "more_rows", "out", "print_json", "project_of", "resumable"]

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The task's folder, or its rung.yaml.")]
Rung = Annotated[str, typer.Argument(metavar="RUNG", help="Methods joined by +, such as few-shot+lora; lora@BASE names a base.")]
Json = Annotated[bool, typer.Option("--json", help="Print only JSON on standard output.")]


def project_of(
    folder: Path,
    rungs: tuple[str, ...] | None = None,
    machine: Machine | None = None,
    needs: dict[str, Any] | None = None,
    store_at: str = "",
) -> Project:
    """The project of a folder; notices go to standard error. `rungs`: only these, on one base each.

    `store_at`: the address of its store from now on; empty for the one that it has.
    """
    from rung.climbing.project import Project
    from rung.store import remember
    from rung.task import load_task

    task = load_task(folder)
    if rungs:
        task = task.only(*rungs)
    if needs:
        task = task.model_copy(update={"needs": task.needs.model_copy(update=needs)})
    project = Project(task, say=lambda text: err.print(text, style="dim"), estimate_for=machine, store_at=store_at)
    if store_at:
        remember(project.store)
    return project


def folder_and_rung(first: str | Path, second: str | Path) -> tuple[Path, str]:
    """FOLDER and RUNG in either order: the documented one has FOLDER first, older commands RUNG."""
    given = (str(first), str(second))
    folder, rung = given if _fits(*given) >= _fits(*reversed(given)) else reversed(given)
    return Path(folder), rung


def _fits(folder: str, rung: str) -> tuple[bool, bool]:
    """How well two arguments fit their meaning: the folder holds a task; the rung is made of known methods."""
    from rung.methods import METHODS, ZERO_SHOT
    from rung.task.loading import FILE_NAME

    path = Path(folder)
    known = all(part.partition("@")[0] in (*METHODS, ZERO_SHOT) for part in rung.split("+"))
    return path.is_file() or (path / FILE_NAME).is_file(), known


@contextmanager
def resumable(notice: str = "Run the same command to resume; what was measured is stored.") -> Iterator[None]:
    """After Ctrl-C, say that nothing is lost."""
    try:
        yield
    except KeyboardInterrupt:
        err.print(f"stopped. {notice}")
        raise


def print_json(value: Any) -> None:
    """Print a value as JSON on standard output."""
    from dataclasses import asdict, is_dataclass

    def plain(part: Any) -> Any:
        return asdict(part) if is_dataclass(part) and not isinstance(part, type) else str(part)

    sys.stdout.write(json_text(value, plain) + "\n")


def more_rows(project: Project, folder: Path) -> str:
    """Where more dev and test rows can come from: those that are labelled and not used, then unlabelled inputs."""
    if unused := len(project.inputs.splits.unused):
        return f"{unused:,} labelled dev and test rows are not used yet; `data.split.most: all` in rung.yaml uses them"
    return f"to label more rows for dev and test: rung label {folder} --for held-out" if project.task.data.unlabelled else ""
