"""The command that checks the data, and that mends it in copies."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from rung.cli.common import Folder, Json, err, out, print_json, project_of
from rung.cli.screens.console import styled
from rung.errors import DataError, TaskError

if TYPE_CHECKING:
    from rung.climbing.project import Project
    from rung.data.finding import Finding
    from rung.data.spelling import Variant
    from rung.task import Task


def check(
    folder: Folder,
    fix: Annotated[bool, typer.Option("--fix", help="Write cleaned copies of the data files; no original is changed.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --fix: join all spellings of labels without asking.")] = False,
    json_: Json = False,
) -> None:
    """Check whether the data can decide anything. Exit code 1 if not.

    With --fix, rows are set aside, removed or relabelled in copies of the files: rows that cannot be used and questions with
    several labels are set aside in a file of their own; questions of dev and test are taken out of train, and repeats out of
    each split; spellings of a label are joined after asking. It says row by row what it did, and what to change in rung.yaml.
    """
    from rung.cli.screens import results
    from rung.climbing.preflight import inspect
    from rung.data.check import blocking

    if fix:
        _fix(project_of(folder), yes, json_)
        return
    if yes:
        raise TaskError("--yes is an answer to the questions of --fix.", where="rung check", remedy="Give both, or neither.")
    project = project_of(folder)
    try:
        found, row = inspect(project)
    except DataError:
        if _can_be_read(project.task):
            err.print(f"`rung check {folder} --fix` sets such rows aside.", soft_wrap=True)
        raise
    if json_:
        print_json({"findings": found, "blocking": blocking(found)})
    else:
        out.print(results.findings(found))
        if row:
            out.print()
            out.print(results.masked(row))
        if _mendable(found):
            out.print()
            out.print(f"`rung check {folder} --fix` writes cleaned copies of the files.", soft_wrap=True)
    raise typer.Exit(1 if blocking(found) else 0)


MENDED = {
    "duplicates-across-splits",
    "groups-across-splits",
    "duplicates-within-split",
    "contradictory-labels",
    "labels-joined",
    "labels-alike",
}
"""Findings that --fix can mend."""


def _mendable(found: Sequence[Finding]) -> bool:
    return any(one.code in MENDED and one.severity != "note" for one in found)


def _can_be_read(task: Task) -> bool:
    """Whether --fix can read the files, so that it can set unusable rows aside."""
    from rung.data.repair import read_sources

    try:
        return bool(read_sources(task))
    except DataError:
        return False


def _fix(project: Project, yes: bool, json_: bool) -> None:
    """Mend the data in copies, say what was done, and check these."""
    from rung.cli.screens import fixed, results
    from rung.climbing.preflight import inspect
    from rung.climbing.project import Project
    from rung.data import cleaned
    from rung.data.check import blocking
    from rung.data.repair import read_sources, repair, spellings

    task = project.task
    sources = read_sources(task)
    asked = spellings(sources, task)
    joined = asked if yes else [] if json_ else [one for one in asked if _agreed(one)]
    found = repair(sources, task, joined)
    made = cleaned.write(task, sources, found)
    if not json_:
        out.print(fixed.changes(found, made))
    after, _ = inspect(Project(made.applied(task), project.shared_engines, project.say, project.estimate_for))
    if json_:
        changed = {key: list(names) for key, names in made.data.items()}
        said = {"changes": list(found.changes.values()), "notes": found.notes, "files": [str(path) for path in made.files]}
        print_json({**said, "set_aside": made.set_aside, "data": changed, "findings": after, "blocking": blocking(after)})
    elif left := [one for one in after if one.severity != "note"]:
        out.print()
        out.print("What is left of the check with these files:" if made.files else "What is left of the check:")
        out.print(results.findings(left))
    raise typer.Exit(1 if blocking(after) else 0)


def _agreed(one: Variant) -> bool:
    """Ask whether a spelling is joined. Nothing typed is the usual answer; the end of standard input is no."""
    usual = "Y/n" if one.certain else "y/N"
    rows, into = (f"{count} row{'s' * (count != 1)}" for count in (one.rows, one.into_rows))
    text = styled("Join [bold]{}[/] ({}) into [bold]{}[/] ({})? [dim]({})[/] ", one.label, rows, one.into, into, usual)
    while True:
        out.print(text, end="", soft_wrap=True)
        line = sys.stdin.readline()
        said = line.strip().casefold()
        if not line:
            err.print("\nno answer: it is not joined.")
            return False
        if said in ("y", "yes", "n", "no", ""):
            return said.startswith("y") or (not said and one.certain)
