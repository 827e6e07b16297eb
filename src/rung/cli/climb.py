"""The commands that measure a task's rungs, and show or report what was decided."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rung.cli.cluster import Gpus, On, Parallel, executor_of
from rung.cli.common import Folder, Json, err, more_rows, out, print_json, project_of, resumable
from rung.cli.store import StoreAt
from rung.errors import RungError

if TYPE_CHECKING:
    from rung.climbing.project import Project

EXIT_CODES = {"meets": 0, "fails": 3, "undecided": 4}
"""Of a climb and of its decision shown. 1 is for data that decide nothing, 2 for a mistake of the user's."""


def climb(
    folder: Folder,
    all_: Annotated[bool, typer.Option("--all", help="Measure every rung, even after one has met the goal.")] = False,
    on: On = "",
    parallel: Parallel = 0,
    gpus: Gpus = None,
    store: StoreAt = "",
    json_: Json = False,
) -> None:
    """Try rungs, advised ones first and the cheapest of those first, until one meets the goal. Resumes after an interruption.

    Exit code 0 if a rung meets the goal, 3 if none does, 4 if it is undecided; 1 if the data cannot decide anything.
    """
    from rung.cli.climb_json import summary
    from rung.cli.screens import results
    from rung.cli.screens.progress import Board
    from rung.climbing import climb as ladder
    from rung.climbing.deadline import deadline
    from rung.climbing.preflight import inspect
    from rung.data.check import blocking

    executor = executor_of(on, parallel, gpus)
    project = project_of(folder, store_at=store)
    with deadline(project.engines, project.task.budget.minutes):
        found, _ = inspect(project)
    if blocking(found):
        if json_:
            print_json({"blocking": True, "findings": found})
        err.print(results.findings([f for f in found if f.severity == "block"]))
        err.print(f"Nothing was spent. Run `rung check {folder}` for details.")
        raise typer.Exit(1)
    console = err if json_ else out
    with resumable(), Board(console, project.task.goal) as board:
        result = ladder.climb(project, board, everything=all_, findings=found, on=executor)
    if json_:
        print_json(summary(project.store.read("decision.json")))
    else:
        _show(project.store.read("decision.json"))
        if spent := project.engines.spent():
            out.print(f"calls to APIs on this task so far: {spent}", style="dim")
        if result.decision.left:
            out.print(
                f"to go on: rung climb {folder}   (budget.minutes in rung.yaml: {project.task.budget.minutes or 'no limit'})"
            )
        if result.decision.verdict == "undecided" and (more := more_rows(project, folder)):
            out.print(more, style="dim", soft_wrap=True)
        if result.decision.verdict == "fails":
            for line in _untried(project, folder):
                out.print(line)
        out.print(f'rung report {folder}   rung ask {folder} "..."', style="dim")
    raise typer.Exit(EXIT_CODES[result.decision.verdict])


def show(folder: Folder, json_: Json = False) -> None:
    """Show the leaderboard of the last climb, or of the rungs measured so far.

    Exit code 0 if a rung meets the goal, 3 if none does, 4 if it is undecided.
    """
    from rung import store
    from rung.cli.climb_json import summary
    from rung.climbing.climb import changed

    project = project_of(folder)
    content = _climbed(project)
    print_json(summary(content)) if json_ else _show(content)
    if change := changed(project, content):
        err.print(f"{change} since this climb: climb again.")
    raise typer.Exit(EXIT_CODES[store.decision(content["decision"]).verdict])


def report(folder: Folder, to: Annotated[Path | None, typer.Option("--to", help="Where to write it.")] = None) -> None:
    """Write one self-contained HTML file: the decision, the leaderboard, quality against cost, rows to read."""
    from rung import report as reports

    out.print(f"wrote {reports.write(project_of(folder), to)}", soft_wrap=True)


def _untried(project: Project, folder: Path) -> Iterator[str]:
    """What may still reach a goal that no rung meets: rungs that rung.yaml leaves out, and larger bases."""
    from rung.cli.base_advice import larger
    from rung.planning.steps import unnamed

    if names := unnamed(project.task, project.inputs.data, project.plan.bases, project.machine):
        yield f"not tried, because `rungs` in rung.yaml does not name them: {', '.join(names)}"
    if bases := larger(project):
        yield f"a larger base may reach it: {', '.join(bases)} (rung models --for {folder})"


def _climbed(project: Project) -> dict[str, Any]:
    from rung.climbing import climb as ladder

    if content := project.store.read("decision.json"):
        return content
    if found := ladder.standing(project):
        err.print("No climb has finished here yet; these are the rungs measured so far.")
        return ladder.content(project, found)
    raise RungError(
        "nothing has been climbed here yet.", where=str(project.task.folder), remedy=f"Run: rung climb {project.task.folder}"
    )


def _show(content: dict[str, Any]) -> None:
    from rung import store
    from rung.cli.screens import results

    decision = store.decision(content["decision"])
    records = [store.record(found) for found in content["records"]]
    test = store.scores(content["test"]) if content["test"] else None
    out.print(results.leaderboard(records, decision, content["task"]["goal"], content.get("bases", {})))
    untested, spending = content.get("untested", ""), content.get("spending")
    out.print(results.outcome(decision, test, content["seals_broken"], content["sealed"], untested, spending))
