"""The command that answers: one text, or a file of rows."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rung.cli import knowledge
from rung.cli.common import Folder, Json, err, out, print_json, project_of, resumable
from rung.cli.screens.console import status
from rung.errors import RungError, TaskError
from rung.visible import rechunk

if TYPE_CHECKING:
    from rung.climbing.project import Project
    from rung.predictor import Predictor
    from rung.retrieve.store import Allow

FORMS = {".csv": "csv", ".jsonl": "jsonl"}


def ask(
    folder: Folder,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The text to answer; - reads standard input.")] = "",
    rows: Annotated[
        Path | None, typer.Option("--rows", help="Answer every row of this file: csv, tsv, jsonl, json, parquet.")
    ] = None,
    to: Annotated[Path | None, typer.Option("--to", help="With --rows: the file to write, .csv or .jsonl.")] = None,
    rung: Annotated[str, typer.Option(help="Answer with this rung instead of the chosen one.")] = "",
    access: knowledge.Access = [],  # noqa: B006  # typer copies it
    json_: Json = False,
) -> None:
    """Answer with the rung that the last climb chose, with citations if the answer was looked up.

    Before any climb a rung that trains nothing answers, and a notice says that it was not measured.
    """
    from rung.climbing.answering import answering
    from rung.retrieve.asker import allowed

    if bool(text) == bool(rows):
        raise TaskError("it takes either a text or --rows.", where="rung ask", remedy='rung ask FOLDER "a text"')
    if rows and (to is None or to.suffix.lower() not in FORMS):
        raise TaskError(f"--to is {str(to or '')!r}.", where="rung ask", remedy="Name a file that ends in .csv or .jsonl.")
    project = project_of(folder)
    allow = allowed(project.task, access)
    found = answering(project, rung)
    if found.notice:
        err.print(found.notice, style="dim", soft_wrap=True)
    predictor = found.predictor
    predictor.warm(project.engines)
    if rows and to:
        _many(project, predictor, rows, to, allow)
    else:
        _one(project, predictor, (sys.stdin.read() if text == "-" else text).strip(), allow, json_)


def _one(project: Project, predictor: Predictor, text: str, allow: Allow, json_: bool) -> None:
    from rung import calls
    from rung.cli.screens import results
    from rung.types import Example, plain

    if not json_ and predictor.streams:
        for piece in rechunk(predictor.stream(Example(text, ""), project.engines)):
            out.print(piece, end="", soft_wrap=True)
        out.print()
        return
    [answer] = predictor.predict([Example(text, "")], project.engines, allow=allow)
    if answer.error:
        raise RungError(answer.error, remedy="Shorten the text." if answer.wrong else "")
    if json_:
        called = {calls.KEY: calls.parse_output(answer.output)} if predictor.tools else {}
        print_json({**plain(answer), **called, "model": predictor.model.name})
    else:
        out.print(results.answer(answer))


def _many(project: Project, predictor: Predictor, rows: Path, to: Path, allow: Allow) -> None:
    """Answer every row. The file appears once all are answered."""
    from rung import answer_rows, files

    part = to.with_name(f"{to.name}.{os.getpid()}.part")
    form, column = FORMS[to.suffix.lower()], project.task.data.input
    resume = resumable(f"Rows answered so far are in {part}.")
    with resume, status("answering") as update, files.unfinished_text(to, part) as file:
        found = answer_rows.answer_rows(
            predictor, project.engines, rows, file, form, column, allow, lambda n: update(f"{n} rows answered")
        )
    out.print(f"wrote {to}: {found.rows} rows, {found.failed} without an answer", soft_wrap=True)
