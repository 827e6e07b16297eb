"""Checks of paths, patterns and model names in a task file, before anything is opened or walked."""

from __future__ import annotations

import posixpath
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from rung.task.bounds import shorten

WILD = "*?["
SYSTEM = ("/proc", "/sys", "/dev")
"""Kernel file systems: devices and endless pseudo-files."""


def path(value: str) -> str:
    """The path unchanged. ValueError for a NUL character or a path into a kernel file system."""
    if "\0" in value:
        raise ValueError("a path contains a NUL character. Remove it.")
    if any(_plain(value) == one or _plain(value).startswith(f"{one}/") for one in SYSTEM):
        raise ValueError(f"{shorten(value)!r} is a device or a system file. Name a file or folder of your own.")
    return value


def patterns(values: tuple[str, ...]) -> tuple[str, ...]:
    """Document patterns unchanged. ValueError for one that would walk the whole disk or the same folders repeatedly."""
    for value in values:
        fixed = _fixed(value)
        if posixpath.isabs(value) and fixed == "/":
            raise ValueError(f"{shorten(value)!r} starts at the root, so the whole disk would be walked. Name a folder.")
        if any(mark in value for mark in WILD) and _climbs(fixed):
            raise ValueError(f"{shorten(value)!r} walks everything above the task folder. Name a folder.")
        if value.count("*") > 20:
            raise ValueError(f"{shorten(value)!r} has more than 20 stars. Name a folder.")
    return values


def plain_files(folder: Path, names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Existing paths in `names` that are neither file nor folder, each with what they are."""
    for name in names:
        try:
            mode = (folder / name).stat().st_mode
        except (FileNotFoundError, NotADirectoryError):  # reported by the reader, with similar names
            continue
        except OSError as error:  # a circle of links, a name that is too long, no permission
            yield name, f"cannot be opened: {error.strerror}"
            continue
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            yield name, "is a pipe, a socket or a device"


def model(value: str) -> str:
    """The model name unchanged. ValueError for an invalid address: unclosed brackets, a port that is not a number."""
    if value.startswith(("http://", "https://")):
        address, _, _ = value.partition("#")
        try:
            _ = urlsplit(address).port, urlsplit(address).hostname
        except ValueError as error:
            raise ValueError(
                f"{shorten(value)!r} is not a valid address: {error}. Write it as http://host:8000/v1#MODEL."
            ) from None
    return path(value)


def _plain(value: str) -> str:
    return "/" + posixpath.normpath(value).lstrip("/") if value.startswith("/") else posixpath.normpath(value)


def _fixed(value: str) -> str:
    """The folders before the first one with a wildcard."""
    parts = value.split("/")
    wild = next((i for i, part in enumerate(parts) if any(mark in part for mark in WILD)), len(parts))
    return _plain("/".join(parts[:wild]) or ("/" if value.startswith("/") else "."))


def _climbs(fixed: str) -> bool:
    """Whether it is a parent of the task folder."""
    return all(part == ".." for part in fixed.split("/"))
