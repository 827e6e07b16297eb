"""The command line. Each command parses, makes one call, and prints."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from rung import files
from rung.cli import ask as cli_ask
from rung.cli import base_advice
from rung.cli import chat as cli_chat
from rung.cli import check as cli_check
from rung.cli import export as cli_export
from rung.cli import feedback as cli_feedback
from rung.cli import init as cli_init
from rung.cli import knowledge as cli_knowledge
from rung.cli import label as cli_label
from rung.cli import plan as cli_plan
from rung.cli import serve as cli_serve
from rung.cli import store as cli_store
from rung.cli import trust as cli_trust
from rung.cli import tune as cli_tune
from rung.cli.cluster import Gpus, On, Parallel, Workers, executor_of, trainer_of
from rung.cli.common import Folder, Json, Rung, err, folder_and_rung, more_rows, out, print_json, project_of, resumable
from rung.cli.screens.console import make_output_safe, styled
from rung.errors import RungError, disk_full
from rung.visible import visible

if TYPE_CHECKING:
    from rung.climbing.project import Project

EXIT_CODES = {"meets": 0, "fails": 3, "undecided": 4}
"""Of a climb and of its decision shown. 1 is for data that decide nothing, 2 for a mistake of the user's."""


class _Group(TyperGroup):
    """All commands. Usage errors quote what was typed, so they are made safe for the terminal."""

    def invoke(self, ctx: Any) -> Any:
        with _usage():
            return super().invoke(ctx)

    def make_context(self, *args: Any, **options: Any) -> Any:
        with _usage():
            return super().make_context(*args, **options)


@contextmanager
def _usage() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if message := getattr(error, "format_message", None):  # a usage error; it quotes what was typed
            text = visible(message())
            error.format_message = lambda: text  # type: ignore[attr-defined]
        raise


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Adapt a language model to your task with the cheapest method that measurably reaches your goal.\n\n"
    "Start with `rung init FOLDER`, then `check`, `plan`, `climb`, `report`, `ask`.",
)


def _version(wanted: bool) -> None:
    if wanted:
        from rung.version import __version__

        out.print(__version__)
        raise typer.Exit


def main() -> None:
    """Run a command. A mistake of the user's is one sentence on standard error and exit code 2."""
    from rung.lm import processes

    make_output_safe()
    for name in ("SIGTERM", "SIGHUP"):  # a closed terminal, a machine taken back: the command still cleans up
        number = getattr(signal, name, None)
        if number and signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores it
            signal.signal(number, _stopped)
    try:
        if processes.is_distributed():
            from rung.methods import multiprocess

            multiprocess.lead(app)
        else:
            app()
    except RungError as error:
        _fault(str(error))
        sys.exit(error.exit_code)
    except Exception as error:
        if files.is_full(error):
            _fault(str(disk_full(getattr(error, "filename", None) or "", error)))
        elif isinstance(error, OSError):  # a folder that may not be written
            _fault(f"{error.filename}: {error.strerror}." if error.filename and error.strerror else f"{error}.")
        else:
            raise
        sys.exit(RungError.exit_code)


def _stopped(*_: object) -> None:
    raise KeyboardInterrupt


def _fault(text: str) -> None:
    err.print(styled("[bold red]error[/] {}", text), soft_wrap=True)


@app.callback()
def version(
    wanted: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options before a command."""


app.command()(cli_init.init)


app.command()(cli_check.check)


app.command()(cli_plan.plan)


@app.command()
def climb(
    folder: Folder,
    all_: Annotated[bool, typer.Option("--all", help="Measure every rung, even after one has met the goal.")] = False,
    on: On = "",
    parallel: Parallel = 0,
    gpus: Gpus = None,
    store: cli_store.StoreAt = "",
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
        out.print(f'rung report {folder}   rung ask {folder} "..."', style="dim")
    raise typer.Exit(EXIT_CODES[result.decision.verdict])


@app.command()
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


@app.command()
def report(folder: Folder, to: Annotated[Path | None, typer.Option("--to", help="Where to write it.")] = None) -> None:
    """Write one self-contained HTML file: the decision, the leaderboard, quality against cost, rows to read."""
    from rung import report as reports

    out.print(f"wrote {reports.write(project_of(folder), to)}", soft_wrap=True)


app.command()(cli_label.label)
app.command()(cli_ask.ask)
app.command()(cli_chat.chat)
app.command()(cli_serve.serve)
app.command()(cli_serve.mcp)
app.add_typer(cli_serve.keys, name="keys")
app.command()(cli_feedback.feedback)
app.command()(cli_export.export)


@app.command()
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


app.command()(cli_knowledge.index)
app.command()(cli_knowledge.search)
app.command()(cli_tune.tune)
app.command()(cli_trust.trust)
app.add_typer(cli_store.store, name="store")


@app.command()
def models(
    for_: Annotated[
        Path | None,
        typer.Option("--for", metavar="FOLDER", help="Bases for this task: what fits its rows, its limits and this machine."),
    ] = None,
    json_: Json = False,
) -> None:
    """List known models, their sources, and which are cached."""
    from rich.table import Table

    if for_ is not None:
        base_advice.show(for_, json_)
        return

    from rung.cli.screens.form import format_bytes
    from rung.lm.models.resolve import known

    rows = known()
    if json_:
        print_json(rows)
        return
    table = Table("name", "kind", "parameters", "licence", "hub", "package index", "cached", header_style="bold")
    for row in rows:
        cached = f"{format_bytes(row.size_bytes)} in {row.folder}" if row.folder else "no"
        table.add_row(row.name, row.what, f"{row.parameters / 1e6:.0f} M", row.licence, row.hub, ", ".join(row.wheels), cached)
    out.print(table)


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
