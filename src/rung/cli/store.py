"""The option --store, and the commands about stores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rung.cli.common import Json, err, out, print_json

if TYPE_CHECKING:
    from rung.store import Store

StoreAt = Annotated[
    str,
    typer.Option(
        "--store",
        metavar="ADDRESS",
        help="Where records, answers and leases are: postgresql://USER@HOST/NAME, sqlite:////PATH, or folder for the .rung "
        "folder. Later commands in this folder use it too. Default: RUNG_STORE.",
    ),
]
Side = Annotated[str, typer.Argument(help="A task's folder, or the address of a database as --store has it.")]

store = typer.Typer(no_args_is_help=True, help="Where a task's records, answers and fits are.")


@store.command()
def copy(source: Side, target: Side, json_: Json = False) -> None:
    """Copy a store into another, with fits and signatures. What is there already stays; a copy that was cut off goes on."""
    import tempfile

    from rung.store import copying

    with tempfile.TemporaryDirectory(prefix="rung-copy-") as place:
        sides = [_opened(text, _task(source, target), Path(place) / str(number)) for number, text in enumerate((source, target))]
        found = copying.copy(*sides)
    if json_:
        print_json(found)
    else:
        counts = f"{found.texts} texts, {found.lines} lines, {found.fits} fits, {found.api_answers} answers of APIs"
        out.print(f"copied: {counts}", soft_wrap=True)
        if found.note:
            err.print(found.note, soft_wrap=True)


def _task(source: str, target: str) -> str:
    """The name of the task where an address has none: that of the folder on the other side; empty without one."""
    from rung.store.address import task_name

    return next((task_name(Path(text)) for text in (source, target) if "://" not in text), "")


def _opened(text: str, task: str, place: Path) -> Store:
    """One side of a copy. `place`: where the fits of a database are put for as long as they are copied."""
    from rung.errors import RungError
    from rung.store import Store
    from rung.store.address import parse
    from rung.task import load_task

    def say(what: str) -> None:
        err.print(what, style="dim")

    if "://" not in text:
        return Store(load_task(Path(text)).folder, say)
    address = parse(text, task)
    if address is None or not address.task:
        raise RungError("the address names no task.", where="rung store copy", remedy="Add ?task=NAME.")
    return Store(place, say, address)
