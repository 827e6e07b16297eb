"""The files that a pattern names: each folder looked at once a step, and no more of the disk than a stated number of entries."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from rung.errors import DataError

MOST_LOOKED_AT = 200_000
"""Files and folders that one pattern, or one folder that is read whole, may lead through: about a second."""

T = TypeVar("T")


def matching(start: Path, pattern: str) -> list[Path]:
    """What a pattern relative to `start` names, sorted; ** stands for any number of folders, links and hidden ones left out.

    Unlike pathlib's, it does not try every way in which several ** can share a path. DataError where it leads through too much.
    """
    looked = _Looked(pattern)
    found = {start}
    parts = [part for part in re.split("/+", pattern) if part != "."]
    for i, part in enumerate(parts):
        if part == "**":
            found = {below for place in found for below in _folders(place, looked)} if parts[i - 1 : i] != ["**"] else found
        elif any(mark in part for mark in "*?["):
            same = re.compile(fnmatch.translate(part)).match
            found = {Path(entry.path) for place in found for entry in _entries(place, looked) if same(entry.name)}
        else:
            found = {place / part for place in found if os.path.lexists(place / part)}
    return sorted(found)


def bounded(steps: Iterable[tuple[T, list[str], list[str]]], name: str) -> Iterator[tuple[T, list[str], list[str]]]:
    """The steps of os.walk. DataError where they lead through too much; `name`: the folder as the task names it."""
    looked = _Looked(name)
    for place, folders, files in steps:
        looked.more(len(folders) + len(files))
        yield place, folders, files


class _Looked:
    """Counts what is looked at."""

    def __init__(self, name: str):
        self.name, self.count = name, 0

    def more(self, count: int) -> None:
        self.count += count
        if self.count > MOST_LOOKED_AT:
            raise DataError(
                f"documents: {self.name!r} leads through more than {MOST_LOOKED_AT:,} files and folders.",
                where="rung.yaml data.documents",
                remedy="Name the folders that hold the documents.",
            )


def _entries(place: Path, looked: _Looked) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(place) as inside:
            entries = []
            for entry in inside:
                looked.more(1)
                entries.append(entry)
            return entries
    except (NotADirectoryError, PermissionError, FileNotFoundError):
        return []


def _folders(place: Path, looked: _Looked) -> Iterator[Path]:
    """The folder itself and all below it."""
    todo = [place] if place.is_dir() else []
    while todo:
        here = todo.pop()
        yield here
        todo += [
            Path(one.path) for one in _entries(here, looked) if not one.name.startswith(".") and one.is_dir(follow_symlinks=False)
        ]
