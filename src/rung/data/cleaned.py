"""Cleaned copies of data files. No original is ever written to, and no file that exists already."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rung import files
from rung.data.formats import text_of
from rung.data.load import RawRow
from rung.data.repair import Change, Repair, Source
from rung.task import Data, Task
from rung.visible import json_text

KEYS = ("examples", "train", "dev", "test")
SET_ASIDE, RECORD = "set_aside", "fixed"
"""Names of the files with the rows set aside, and with what was done."""
_TEXT_TABLES = {".csv", ".tsv", ".xlsx", ".xls", ".xlsb", ".ods"}
_CLEAN = re.compile(r"\.clean(\.\d+)?$")


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What was written."""

    files: tuple[Path, ...]
    """Cleaned copies."""
    set_aside: Path | None
    """The rows set aside, with where each was and why."""
    record: Path | None
    """What was done with each row."""
    data: Mapping[str, tuple[str, ...]]
    """The keys under `data` that change, with the names to give them."""

    def applied(self, task: Task) -> Task:
        """The task with the cleaned copies."""
        return task.model_copy(update={"data": task.data.model_copy(update=dict(self.data))})


def write(task: Task, sources: Sequence[Source], found: Repair) -> Cleaned:
    """Write a cleaned copy of each data file with a change; files without one stay as they are.

    Tables become .csv, all others .jsonl. Of a folder, all files are copied.
    """
    if not found.changes:
        return Cleaned((), None, None, {})
    copies: dict[str, str] = {}
    written: list[Path] = []
    for entry in dict.fromkeys(name for key in KEYS for name in getattr(task.data, key)):
        own = [source for source in sources if _of(source, entry, task)]
        if any(row.where in found.changes for source in own for row in source.rows):
            copies[entry], made = _copy(entry, own, found.changes, task)
            written += made
    beside = (task.folder / next(iter(copies))).parent
    aside = [one for source in sources for one in source.rows if _did(found, one) == "set aside"]
    return Cleaned(
        tuple(written),
        _write_aside(beside, aside, found.changes) if aside else None,
        _write_record(beside, found.changes.values()),
        {key: names for key in KEYS if (names := _renamed(task.data, key, copies)) != getattr(task.data, key)},
    )


def _did(found: Repair, row: RawRow) -> str:
    change = found.changes.get(row.where)
    return change.did if change else ""


def _of(source: Source, entry: str, task: Task) -> bool:
    """Whether a file is what an entry of rung.yaml names, or in the folder that it names."""
    place = task.folder / entry
    return source.file.label == entry or (place.is_dir() and source.file.path.is_relative_to(place))


def _renamed(data: Data, key: str, copies: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(copies.get(name, name) for name in getattr(data, key))


def _copy(entry: str, own: Sequence[Source], changes: Mapping[str, Change], task: Task) -> tuple[str, list[Path]]:
    """Copies of the files of one entry, and its new name."""
    place = task.folder / entry
    if not place.is_dir():
        path = _free(_named(place, _ending(own[0].file.path)))
        _write_rows(path, own[0].rows, changes)
        return path.relative_to(task.folder).as_posix() if path.is_relative_to(task.folder) else str(path), [path]
    folder = _free(place.with_name(f"{_CLEAN.sub('', place.name)}.clean"))
    made = []
    for source in own:
        inside = source.file.path.relative_to(place)
        made.append((folder / inside).with_suffix(_ending(inside)))
        _write_rows(made[-1], source.rows, changes)
    return folder.relative_to(task.folder).as_posix() if folder.is_relative_to(task.folder) else str(folder), made


def _ending(path: Path) -> str:
    suffix = path.suffix.partition("#")[0].lower()
    return ".csv" if suffix in _TEXT_TABLES else ".jsonl"


def _named(path: Path, ending: str) -> Path:
    """`tickets.clean.csv`; a sheet of a workbook is in the name."""
    name, _, sheet = path.name.partition("#")
    stem = _CLEAN.sub("", Path(name).stem) + (f".{re.sub(r'[^-_a-zA-Z0-9]+', '_', sheet)}" if sheet else "")
    return path.with_name(f"{stem}.clean{ending}")


def _free(path: Path) -> Path:
    """The path, with a number if it exists: nothing is overwritten."""
    number, found = 2, path
    while found.exists():
        found = path.with_name(f"{path.stem}.{number}{path.suffix}" if path.suffix != ".clean" else f"{path.name}.{number}")
        number += 1
    return found


def _write_rows(path: Path, rows: Sequence[RawRow], changes: Mapping[str, Change]) -> None:
    left = []
    for one in rows:
        change = changes.get(one.where)
        if change is None:
            left.append(dict(one.row))
        elif change.did == "relabelled":
            left.append({**one.row, one.form.output: change.label})
    if path.suffix == ".csv":
        _write_csv(path, left, dict.fromkeys(name for one in rows for name in one.row))
    else:
        files.write_text(path, "".join(json_text(row, compact=True) + "\n" for row in left))


def _write_csv(path: Path, rows: Iterable[Mapping[str, Any]], columns: Iterable[str]) -> None:
    names = list(columns)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(names)
    table.writerows([text_of(row.get(name), "") for name in names] for row in rows)
    files.write_text(path, text.getvalue(), errors="backslashreplace")  # rows set aside may have half a character


def _write_aside(folder: Path, rows: Sequence[RawRow], changes: Mapping[str, Change]) -> Path:
    path = _free(folder / f"{SET_ASIDE}.csv")
    columns = dict.fromkeys(["set_aside_from", "set_aside_because", *(name for one in rows for name in one.row)])
    _write_csv(
        path,
        ({"set_aside_from": one.where, "set_aside_because": changes[one.where].why, **one.row} for one in rows),
        columns,
    )
    return path


def _write_record(folder: Path, changes: Iterable[Change]) -> Path:
    path = _free(folder / f"{RECORD}.csv")
    _write_csv(
        path,
        ({"row": one.where, "split": one.split, "did": one.did, "why": one.why} for one in changes),
        ("row", "split", "did", "why"),
    )
    return path
