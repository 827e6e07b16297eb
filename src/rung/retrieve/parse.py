"""Documents of a folder found and read; a file that cannot be is refused by name with the reason, and the others go on."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rung.errors import DataError, RungError
from rung.retrieve.formats.isolated import blocks_of, fault
from rung.retrieve.formats.readers import endings
from rung.retrieve.formats.source import read_bytes
from rung.retrieve.glob import bounded, matching
from rung.retrieve.passage import Document, Refused


@dataclass(frozen=True, slots=True)
class Listing:
    """What a folder holds: files to read, files and folders refused, and the paths of files that are no documents."""

    files: tuple[Path, ...]
    refused: tuple[Refused, ...] = ()
    ignored: tuple[str, ...] = ()


def listing(root: Path, patterns: Sequence[str] = (".",)) -> Listing:
    """The documents that the patterns name, each once, sorted by path.

    A pattern is a file, a folder (read whole, hidden files and folders left out) or a glob such as docs/**/*.md, all
    relative to `root`. Raises DataError where one names nothing.
    """
    files: dict[str, Path] = {}
    refused: dict[str, Refused] = {}
    ignored: set[str] = set()
    known = set(endings())
    for pattern in patterns:
        for path in _named(root, pattern, refused):
            where = relative(path, root)
            bad = _bad_name(where) or _link_out(path, root)
            if bad:
                refused[bad.path] = bad
            elif path.suffix.lower() in known:
                files[where] = path
            else:
                ignored.add(where)
    return Listing(
        tuple(files[path] for path in sorted(files)), tuple(refused[path] for path in sorted(refused)), tuple(sorted(ignored))
    )


def relative(path: Path, root: Path) -> str:
    """The path as documents carry it: from `root`, with forward slashes."""
    return Path(os.path.relpath(path, root)).as_posix()


def parse(path: Path, root: Path) -> Document | Refused:
    """One file as a Document, or why not. Whatever a reader throws becomes the reason; nothing is raised."""
    where = relative(path, root)
    if bad := _bad_name(where) or _link_out(path, root):
        return bad
    try:
        data = read_bytes(path, root)
        ending = path.suffix.lower()
        if ending not in endings():
            raise DataError(
                f"files ending in {ending or 'nothing'!r} cannot be read.", remedy=f"Give one of {', '.join(endings())}."
            )
        blocks = blocks_of(ending, data)
    except RungError as error:
        return Refused(where, error.what, error.remedy)
    except Exception as error:  # a parser's own fault: recorded by class and message, and the other files go on
        return Refused(where, f"its reader failed: {fault(error)}", "Save it anew, or leave it out.")
    if not blocks:
        return Refused(where, "it holds no text.")
    return Document(where, hashlib.sha256(data).hexdigest(), blocks)


def _named(root: Path, pattern: str, refused: dict[str, Refused]) -> Iterator[Path]:
    """The files that one pattern names; folders that cannot be opened are put into `refused`."""
    if (root / pattern).exists() or not any(mark in pattern for mark in "*?["):
        found = [root / pattern]
    else:
        anchor = Path(pattern).anchor  # a glob from the root of the disk, which Path.glob does not take as it is
        start, rest = (Path(anchor), os.path.relpath(pattern, anchor)) if anchor else (root, pattern)
        found = [path for path in matching(start, rest) if not _hidden(path.relative_to(start), pattern)]
    if not found or not os.path.lexists(found[0]):
        raise DataError(
            f"documents: {pattern!r} names no file.", where=str(root), remedy="Paths are relative to the task's folder."
        )
    for path in found:
        if path.is_dir():
            yield from _walk(path, root, refused)
        else:
            yield path


def _hidden(path: Path, pattern: str) -> bool:
    """Whether a hidden name stands on the way that the pattern does not spell out."""
    return any(name.startswith((".", "~$")) and name not in Path(pattern).parts for name in path.parts if name != "..")


def _walk(folder: Path, root: Path, refused: dict[str, Refused]) -> Iterator[Path]:
    """Files below a folder. Links to folders are named as refused, not followed: they can lead out, or round in circles."""

    def unreadable(error: OSError) -> None:
        where = relative(Path(error.filename), root)
        refused[where] = Refused(where, f"the folder cannot be read: {error.strerror}.", "Check its permissions.")

    for here, folders, files in bounded(os.walk(folder, onerror=unreadable), relative(folder, root)):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in folders:
            if (Path(here) / name).is_symlink():
                where = relative(Path(here) / name, root)
                refused[where] = Refused(where, "it is a link to a folder, which is not followed.", "Name its target.")
        yield from (Path(here) / name for name in sorted(files) if not name.startswith((".", "~$")))


def _bad_name(where: str) -> Refused | None:
    try:
        where.encode()
    except UnicodeEncodeError:
        shown = where.encode(errors="surrogateescape").decode(errors="backslashreplace")
        return Refused(shown, "its name is not UTF-8.", "Rename it.")
    return None


def _link_out(path: Path, root: Path) -> Refused | None:
    """A link, anywhere on the way from `root`, that leaves it, leads nowhere or round in a circle."""
    where = relative(path, root)
    if where.startswith("../"):  # named outright, by the team itself
        root = path.parent
    try:
        real = path.resolve(strict=True)
    except FileNotFoundError:
        return Refused(where, "it is a link to nothing." if path.is_symlink() else "there is no such file.")
    except (OSError, RuntimeError):
        return Refused(where, "it is a link that leads round in a circle, or cannot be followed.", "Remove it.")
    if real == root.resolve() / path.relative_to(root):
        return None
    if real.is_relative_to(root.resolve()):  # its target may have another label (data.access), or be none of the documents
        return Refused(
            where, f"it is a link to {relative(real, root.resolve())!r}.", "Name its target, or put a copy in its place."
        )
    return Refused(where, f"it is a link out of the folder, to {str(real)!r}.", "Put a copy in its place, or name the target.")
