"""The command that races settings of a rung's methods."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rung.cli.common import Json, err, folder_and_rung, kept_when_stopped, out, print_json, project_of


def tune(
    folder: Annotated[str, typer.Argument(help="The task's folder, or its rung.yaml. May be left out inside the folder.")],
    rung: Annotated[str, typer.Argument(help="A method, or several joined by +, as in `rung fit`.")] = "",
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="METHOD.OPTION=VALUE,VALUE; may be given several times. By default a small grid of the methods' own."
        ),
    ] = None,
    trials: Annotated[int | None, typer.Option("--trials", min=2, help="Most trials, the present settings counted.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Which trials are drawn where there are more.")] = 0,
    minutes: Annotated[float | None, typer.Option("--minutes", min=0.01, help="Longest time that it may take.")] = None,
    json_: Json = False,
) -> None:
    """Race settings of a rung's methods on rows of train; says which are best, and what to put into rung.yaml.

    Dev stays fresh: climb afterwards. Stopped, the same command goes on where it was. Exit code 1 where nothing is told.
    """
    from rung.cli.screens import tune as terminal_tune
    from rung.tune import run as tune

    place, name = folder_and_rung(folder, rung) if rung else (Path(), folder)
    project = project_of(place, rungs=(name,))
    with kept_when_stopped(), terminal_tune.Board(err if json_ else out, project.scoring.metric().name) as board:
        found = tune.tune(project, board, set_ or (), most=trials or 0, seed=seed, minutes=minutes)
    if json_:
        print_json(tune.content(found))
    else:
        out.print(terminal_tune.result(found))
        if found.told.lines:
            out.print("in rung.yaml, in place of what it says of these methods:", style="dim")
            out.print(found.told.lines.rstrip(), soft_wrap=True)
    raise typer.Exit(1 if found.told.verdict == "untold" else 0)
