"""The command that writes what askers said of answers as rows for the next climb."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rung.cli.common import Folder, Json, out, print_json, project_of
from rung.cli.screens.console import styled
from rung.errors import TaskError

if TYPE_CHECKING:
    from rung.task import Task

FORMS = (".csv", ".jsonl")


def feedback(
    folder: Folder,
    to: Annotated[
        Path | None, typer.Option("--to", help="Add corrections as examples to this file, .csv or .jsonl, from FOLDER.")
    ] = None,
    preferences: Annotated[
        Path | None, typer.Option("--preferences", help="Add pairs and votes to this .jsonl file; by default beside --to.")
    ] = None,
    json_: Json = False,
) -> None:
    """Write what users of `rung serve` said of its answers as rows, or say how much there is.

    A correction becomes an example and, for texts, a pair with the answer; a thumb becomes a vote. Only what is new is added;
    rows that you edited or deleted stay so.
    """
    from rung.serve.feedback import rows
    from rung.serve.feedback.notes import Notes

    project = project_of(folder)
    if to is None:
        _print_count(Notes(project.store.folder).count(), folder, json_)
        return
    home = project.task.folder
    to = home / to
    pairs = home / preferences if preferences else to.with_name(f"{to.stem}-preferences.jsonl")
    if to.suffix not in FORMS or pairs.suffix != ".jsonl":
        wrong = to if to.suffix not in FORMS else pairs
        raise TaskError(f"{str(wrong)!r} is no file of rows.", where="--to", remedy="Name one that ends in .csv or .jsonl.")
    found = rows.write(project, to, pairs)
    if json_:
        print_json({"examples": found.examples, "preferences": found.preferences, "left_out": found.left})
        return
    out.print(f"added {found.examples} examples to {to}", soft_wrap=True)
    if found.preferences:
        out.print(f"added {found.preferences} preferences to {pairs}", soft_wrap=True)
    for why, count in found.left.items():
        out.print(styled("[dim]{} left out: {}[/]", count, why), soft_wrap=True)
    _print_hint(project.task, to, pairs)


def _print_count(found: dict[str, int], folder: Path, json_: bool) -> None:
    if json_:
        print_json(found)
        return
    said = f"{found['up']} thumbs up, {found['down']} thumbs down, {found['corrections']} corrections"
    out.print(f"{said}; {found['unwritten']} not written yet")
    if found["unwritten"]:
        out.print(f"rung feedback {folder} --to data/feedback.csv", style="dim", soft_wrap=True)


def _print_hint(task: Task, to: Path, pairs: Path) -> None:
    """What rung.yaml lacks for the next climb to read the files."""
    data, key = task.data, "examples" if task.data.examples else "train"
    lines = []
    for name, given, path in ((key, getattr(data, key), to), ("preferences", data.preferences, pairs)):
        covered = any(path == task.folder / one or (task.folder / one) in path.parents for one in given)
        if path.exists() and not covered and path.is_relative_to(task.folder):
            lines.append(f"  {name}: [{', '.join([*given, path.relative_to(task.folder).as_posix()])}]")
    if lines:
        out.print("Read what was added. For the next climb to take it up, put under data in rung.yaml:")
        for line in lines:
            out.print(line, markup=False, highlight=False, soft_wrap=True)
