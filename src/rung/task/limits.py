"""What a path, a pattern or a model's name in a task file may be, checked before anything is opened or walked."""

from __future__ import annotations

import posixpath
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from rung.task.bounds import shortened

WILD = "*?["
SYSTEM = ("/proc", "/sys", "/dev")
"""Folders of the kernel: not files that hold something, but devices and views without end."""


def path(value: str) -> str:
    """A path as given. ValueError for one that holds a NUL, or leads into the kernel's folders."""
    if "\0" in value:
        raise ValueError("a path has a NUL character. Take it out.")
    if any(_plain(value) == one or _plain(value).startswith(f"{one}/") for one in SYSTEM):
        raise ValueError(f"{shortened(value)!r} is a device or a view of the system. Name a file or a folder of yours.")
    return value


def patterns(values: tuple[str, ...]) -> tuple[str, ...]:
    """Patterns of documents as given. ValueError for one that would walk the whole disk, or the same folders again and again."""
    for value in values:
        fixed = _fixed(value)
        if posixpath.isabs(value) and fixed == "/":
            raise ValueError(f"{shortened(value)!r} begins at the root of the disk, all of which would be walked. Name a folder.")
        if any(mark in value for mark in WILD) and _climbs(fixed):
            raise ValueError(f"{shortened(value)!r} looks in all that lies above the task's folder. Name a folder.")
        if value.count("*") > 20:
            raise ValueError(f"{shortened(value)!r} has more than 20 stars. Name a folder.")
    return values


def plain_files(folder: Path, names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Of paths relative to a folder: those that are there and are neither a file nor a folder, each with what it is instead."""
    for name in names:
        try:
            mode = (folder / name).stat().st_mode
        except (FileNotFoundError, NotADirectoryError):  # what reads it says so, with the nearest names
            continue
        except OSError as error:  # a circle of links, a name that is too long, no permission
            yield name, f"cannot be opened: {error.strerror}"
            continue
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            yield name, "is a pipe, a socket or a device"


def model(value: str) -> str:
    """A model's name as given. ValueError for an address that is none: brackets left open, a port that is no number."""
    if value.startswith(("http://", "https://")):
        address, _, _ = value.partition("#")
        try:
            _ = urlsplit(address).port, urlsplit(address).hostname
        except ValueError as error:
            raise ValueError(f"{shortened(value)!r} is no address: {error}. Write it as http://host:8000/v1#MODEL.") from None
    return path(value)


def _plain(value: str) -> str:
    return "/" + posixpath.normpath(value).lstrip("/") if value.startswith("/") else posixpath.normpath(value)


def _fixed(value: str) -> str:
    """The folders in front of the first one with a wild card."""
    parts = value.split("/")
    wild = next((i for i, part in enumerate(parts) if any(mark in part for mark in WILD)), len(parts))
    return _plain("/".join(parts[:wild]) or ("/" if value.startswith("/") else "."))


def _climbs(fixed: str) -> bool:
    """Whether it is the task folder's parent, or one further up."""
    return all(part == ".." for part in fixed.split("/"))
