"""The journal of a labelled file: every answer, skip and undo as one JSON line beside it. Nothing in it is ever edited."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from rung import files
from rung.errors import DataError
from rung.task import Task

ENDING = ".log"
"""Added to the name of the labelled file. No reader of data files takes it, so a data folder may hold it."""

Did = Literal["label", "unanswerable", "skip", "undo", "second"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that a person did with one row."""

    did: Did
    """`second`: labelled again without seeing the first label, which is in `first`. `undo`: takes back the person's last one."""
    input: str
    output: str = ""
    by: str = ""
    """Who, as given by --by; empty if not."""
    at: str = ""
    """When, in UTC."""
    split: str = ""
    drawn: str = ""
    """How the row was drawn, as in the column rung_drawn."""
    pool: int = 0
    """How many rows it was drawn from."""
    proposal: str = ""
    """The answer that was proposed."""
    proposed_by: str = ""
    """The rung that proposed it."""
    first: str = ""
    first_by: str = ""
    where: str = ""
    """Location of the row."""


_ENTRY = TypeAdapter(Entry)


def journal_of(sheet: Path) -> Path:
    """The journal beside a labelled file."""
    return sheet.with_name(sheet.name + ENDING)


def append(path: Path, entry: Entry) -> None:
    """Add an entry; it is on the disk when this returns."""
    files.append(path, json.dumps({k: v for k, v in asdict(entry).items() if v}, ensure_ascii=False) + "\n")


def read(path: Path) -> tuple[Entry, ...]:
    """All entries in order. DataError with the line for one that cannot be read."""
    found = []
    for number, line in files.lines(path):
        try:
            found.append(_ENTRY.validate_json(line))
        except ValidationError:
            raise DataError(
                "this is not an entry of `rung label`.",
                where=f"{path.name} line {number}",
                remedy="Restore the file; it records how the rows were drawn.",
            ) from None
    return tuple(found)


def standing(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """The entries that hold: without those taken back, and without a skip that was answered later by the same person."""
    found: list[Entry] = []
    for entry in entries:
        mine = [i for i, one in enumerate(found) if one.by == entry.by and one.input == entry.input]
        if mine and (entry.did == "undo" or found[mine[-1]].did == "skip"):
            del found[mine[-1]]
        if entry.did != "undo":
            found.append(entry)
    return tuple(found)


def journals(task: Task) -> Iterator[Path]:
    """Journals beside the task's data files."""
    given = (*task.data.examples, *task.data.train, *task.data.dev, *task.data.test)
    folders = dict.fromkeys((task.folder / name).parent for name in given)
    for folder in folders:
        yield from sorted(folder.glob(f"*.csv{ENDING}")) if folder.is_dir() else ()
