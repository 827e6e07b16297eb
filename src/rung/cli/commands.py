"""The commands of `rung` in the order of its help, and how each of them ends."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from rung import files
from rung.cli import ask as cli_ask
from rung.cli import chat as cli_chat
from rung.cli import check as cli_check
from rung.cli import climb as cli_climb
from rung.cli import export as cli_export
from rung.cli import feedback as cli_feedback
from rung.cli import fit as cli_fit
from rung.cli import init as cli_init
from rung.cli import knowledge as cli_knowledge
from rung.cli import label as cli_label
from rung.cli import models as cli_models
from rung.cli import plan as cli_plan
from rung.cli import serve as cli_serve
from rung.cli import store as cli_store
from rung.cli import trust as cli_trust
from rung.cli import tune as cli_tune
from rung.cli.common import err, out
from rung.cli.screens.console import make_output_safe, styled
from rung.errors import RungError, disk_full
from rung.visible import visible


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
app.command()(cli_climb.climb)
app.command()(cli_climb.show)
app.command()(cli_climb.report)
app.command()(cli_label.label)
app.command()(cli_ask.ask)
app.command()(cli_chat.chat)
app.command()(cli_serve.serve)
app.command()(cli_serve.mcp)
app.add_typer(cli_serve.keys, name="keys")
app.command()(cli_feedback.feedback)
app.command()(cli_export.export)
app.command()(cli_fit.fit)
app.command()(cli_knowledge.index)
app.command()(cli_knowledge.search)
app.command()(cli_tune.tune)
app.command()(cli_trust.trust)
app.add_typer(cli_store.store, name="store")


app.command()(cli_models.models)
