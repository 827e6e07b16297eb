"""The command that fits and measures one rung."""

from __future__ import annotations

import typer

from rung.cli.cluster import On, Workers, trainer_of
from rung.cli.common import Folder, Json, Rung, err, folder_and_rung, out, print_json, project_of, resumable


def fit(
    folder: Folder,
    rung: Rung,
    on: On = "",
    workers: Workers = 0,
    json_: Json = False,
) -> None:
    """Fit and measure one rung on dev. Exit code 1 if it could not be measured, or if too many rows failed to decide."""
    from rung.cli.screens import results
    from rung.cli.screens.progress import Board
    from rung.climbing import deciding
    from rung.planning.steps import Step, bases_asked
    from rung.types import plain

    measure = trainer_of(on, workers)
    folder, rung = folder_and_rung(folder, rung)
    project = project_of(folder, rungs=(rung,))
    with resumable(), project.store.joined(), Board(err if json_ else out, project.task.goal) as board:
        step: Step = project.plan.alone
        board.planned(project.plan.steps)
        board.began(step.rung)
        record = measure(project, step, lambda text, share: board.progress(step.rung, text, share))
        board.ended(record)
    decision = deciding.decide(project, [record], alone=True)
    if json_:
        found = decision.rungs[0] if decision.rungs else None
        print_json({**plain(record), "verdict": found.verdict if found else None, "why": found.why if found else record.reason})
    elif record.status != "skipped":
        out.print(results.leaderboard([record], decision, project.task.goal.model_dump(), bases_asked([step])))
        if decision.unmeasured:
            out.print(results.verdict(decision))
    raise typer.Exit(0 if record.status == "done" and not decision.unmeasured else 1)
