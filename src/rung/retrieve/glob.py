"""Files that match a glob pattern, with a limit on the number of entries scanned."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from rung.errors import DataError

MAX_ENTRIES = 200_000
"""Files and folders scanned for one pattern, or one folder read recursively: about a second."""

T = TypeVar("T")


def matching(start: Path, pattern: str) -> list[Path]:
    """Paths that match a pattern relative to `start`, sorted; ** matches any number of folders, except links and hidden ones.

    Unlike pathlib, it does not try every way to split a path among several **. DataError above MAX_ENTRIES.
    """
    scanned = _EntryCount(pattern)
    found = {start}
    parts = [part for part in re.split("/+", pattern) if part != "."]
    for i, part in enumerate(parts):
        if part == "**":
            found = {below for place in found for below in _folders(place, scanned)} if parts[i - 1 : i] != ["**"] else found
        elif any(mark in part for mark in "*?["):
            same = re.compile(fnmatch.translate(part)).match
            found = {Path(entry.path) for place in found for entry in _entries(place, scanned) if same(entry.name)}
        else:
            found = {place / part for place in found if os.path.lexists(place / part)}
    return sorted(found)


def bounded(steps: Iterable[tuple[T, list[str], list[str]]], name: str) -> Iterator[tuple[T, list[str], list[str]]]:
    """The steps of os.walk. DataError above MAX_ENTRIES; `name`: the folder as in the task."""
    scanned = _EntryCount(name)
    for place, folders, files in steps:
        scanned.add(len(folders) + len(files))
        yield place, folders, files


class _EntryCount:
    """Counts scanned entries."""

    def __init__(self, name: str):
        self.name, self.count = name, 0

    def add(self, count: int) -> None:
        self.count += count
        if self.count > MAX_ENTRIES:
            raise DataError(
                f"documents: {self.name!r} contains more than {MAX_ENTRIES:,} files and folders.",
                where="rung.yaml data.documents",
                remedy="Name only the folders that contain the documents.",
            )


def _entries(place: Path, scanned: _EntryCount) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(place) as inside:
            entries = []
            for entry in inside:
                scanned.add(1)
                entries.append(entry)
            return entries
    except (NotADirectoryError, PermissionError, FileNotFoundError):
        return []


def _folders(place: Path, scanned: _EntryCount) -> Iterator[Path]:
    """The folder and all folders below it."""
    todo = [place] if place.is_dir() else []
    while todo:
        here = todo.pop()
        yield here
        todo += [
            Path(one.path)
            for one in _entries(here, scanned)
            if not one.name.startswith(".") and one.is_dir(follow_symlinks=False)
        ]
