"""The command that races settings of a rung's methods."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rung.cli.cluster import Gpus, On, Parallel, executor_of
from rung.cli.common import Json, err, folder_and_rung, out, print_json, project_of, resumable


def tune(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="The task's folder; optional inside it.")],
    rung: Annotated[str, typer.Argument(metavar="RUNG", help="A method, or several joined by +, as in `rung fit`.")] = "",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="METHOD.OPTION=VALUE,VALUE; repeatable. By default each method's own small grid."),
    ] = None,
    trials: Annotated[int | None, typer.Option("--trials", min=2, help="Most trials, the current settings included.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Which trials are drawn if there are more.")] = 0,
    minutes: Annotated[float | None, typer.Option("--minutes", min=0.01, help="Time limit in minutes.")] = None,
    on: On = "",
    parallel: Parallel = 0,
    gpus: Gpus = None,
    json_: Json = False,
) -> None:
    """Race settings of a rung's methods on train rows; print the best ones and the lines for rung.yaml.

    Dev rows are not used, so climb afterwards. Resumes after an interruption. Exit code 1 if nothing is decided.
    """
    from rung.cli.screens import tune as terminal_tune
    from rung.tune import run as tune

    executor = executor_of(on, parallel, gpus)
    place, name = folder_and_rung(folder, rung) if rung else (Path(), folder)
    project = project_of(place, rungs=(name,))
    with resumable(), terminal_tune.Board(err if json_ else out, project.scoring.metric().name) as board:
        found = tune.tune(project, board, set_ or (), most=trials or 0, seed=seed, minutes=minutes, on=executor)
    if json_:
        print_json(tune.content(found))
    else:
        out.print(terminal_tune.result(found))
        if found.conclusion.lines:
            out.print("put into rung.yaml, replacing the options of these methods:", style="dim")
            out.print(found.conclusion.lines.rstrip(), soft_wrap=True)
    raise typer.Exit(1 if found.conclusion.verdict == "untold" else 0)
