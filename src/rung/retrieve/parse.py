"""Finds and reads a folder's documents; an unreadable file is refused with a reason, and the others are still read."""

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
    """A folder's contents: files to read, refused files and folders, and paths of files in other formats."""

    files: tuple[Path, ...]
    refused: tuple[Refused, ...] = ()
    ignored: tuple[str, ...] = ()


def listing(root: Path, patterns: Sequence[str] = (".",)) -> Listing:
    """The documents that match the patterns, each once, sorted by path.

    A pattern is a file, a folder (read recursively, without hidden files and folders) or a glob such as docs/**/*.md,
    relative to `root`. DataError if a pattern matches nothing.
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
    """The path of a document: relative to `root`, with forward slashes."""
    return Path(os.path.relpath(path, root)).as_posix()


def parse(path: Path, root: Path) -> Document | Refused:
    """One file as a Document, or the reason why not. Errors of a reader become the reason; nothing is raised."""
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
    except Exception as error:  # a parser's error: recorded by class and message, the other files are still read
        return Refused(where, f"its reader failed: {fault(error)}", "Save it anew, or leave it out.")
    if not blocks:
        return Refused(where, "it contains no text.")
    return Document(where, hashlib.sha256(data).hexdigest(), blocks)


def _named(root: Path, pattern: str, refused: dict[str, Refused]) -> Iterator[Path]:
    """The files that match one pattern; folders that cannot be opened are added to `refused`."""
    if (root / pattern).exists() or not any(mark in pattern for mark in "*?["):
        found = [root / pattern]
    else:
        anchor = Path(pattern).anchor  # an absolute glob
        start, rest = (Path(anchor), os.path.relpath(pattern, anchor)) if anchor else (root, pattern)
        found = [path for path in matching(start, rest) if not _hidden(path.relative_to(start), pattern)]
    if not found or not os.path.lexists(found[0]):
        raise DataError(
            f"documents: {pattern!r} matches no file.", where=str(root), remedy="Paths are relative to the task's folder."
        )
    for path in found:
        if path.is_dir():
            yield from _walk(path, root, refused)
        else:
            yield path


def _hidden(path: Path, pattern: str) -> bool:
    """Whether a path contains a hidden name that the pattern does not state."""
    return any(name.startswith((".", "~$")) and name not in Path(pattern).parts for name in path.parts if name != "..")


def _walk(folder: Path, root: Path, refused: dict[str, Refused]) -> Iterator[Path]:
    """Files below a folder. Links to folders are refused, not followed: they can leave the folder or form a cycle."""

    def unreadable(error: OSError) -> None:
        where = relative(Path(error.filename), root)
        refused[where] = Refused(where, f"the folder cannot be read: {error.strerror}.", "Check its permissions.")

    for here, folders, files in bounded(os.walk(folder, onerror=unreadable), relative(folder, root)):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in folders:
            if (Path(here) / name).is_symlink():
                where = relative(Path(here) / name, root)
                refused[where] = Refused(where, "it is a link to a folder, and such links are not followed.", "Name its target.")
        yield from (Path(here) / name for name in sorted(files) if not name.startswith((".", "~$")))


def _bad_name(where: str) -> Refused | None:
    try:
        where.encode()
    except UnicodeEncodeError:
        shown = where.encode(errors="surrogateescape").decode(errors="backslashreplace")
        return Refused(shown, "its name is not UTF-8.", "Rename it.")
    return None


def _link_out(path: Path, root: Path) -> Refused | None:
    """A refusal if the path from `root` contains a link that leaves it, is broken or forms a cycle."""
    where = relative(path, root)
    if where.startswith("../"):  # named explicitly in the task
        root = path.parent
    try:
        real = path.resolve(strict=True)
    except FileNotFoundError:
        return Refused(where, "it is a link to nothing." if path.is_symlink() else "there is no such file.")
    except (OSError, RuntimeError):
        return Refused(where, "it is a link in a cycle, or cannot be followed.", "Remove it.")
    if real == root.resolve() / path.relative_to(root):
        return None
    if real.is_relative_to(root.resolve()):  # its target may have another label (data.access), or not be a document
        return Refused(
            where, f"it is a link to {relative(real, root.resolve())!r}.", "Name its target, or put a copy in its place."
        )
    return Refused(where, f"it is a link out of the folder, to {str(real)!r}.", "Put a copy in its place, or name the target.")
