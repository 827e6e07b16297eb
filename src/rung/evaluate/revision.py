"""The checked-out commit of a git repository, read from its files without running git.

Git runs programs named in a repository's configuration (filters, monitors, text converters, hooks), even for `git status`,
and a task folder may come from anybody. So `.git` is read directly, following gitrepository-layout(5) and
gitformat-pack(5): a few small files, opened without following links and up to a fixed size.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

COMMIT = re.compile(r"(?:[0-9a-f]{40}|[0-9a-f]{64})\Z")
"""A full SHA-1 or SHA-256 object name."""
BRANCH = re.compile(r"refs(?:/[^\x00-\x20\x7f~^:?*\[\\/]+)+\Z")
SMALL, PACKED = 4096, 32 << 20
"""Maximum bytes read of HEAD, a ref or a pointer file, and of packed-refs."""
HOPS = 5
"""Maximum chain of symbolic refs, as in git."""


def revision(folder: Path) -> str:
    """Object name of the commit checked out at `folder`; empty outside a repository or if unknown.

    Uncommitted changes are not detected: only git could tell, and it would run programs named by the repository.
    """
    for place in (start := folder.resolve(), *start.parents):
        if (place / ".git").is_symlink():
            return ""
        if (place / ".git").exists():
            found = _directories(place)
            return _commit(*found) if found else ""
    return ""


def _directories(place: Path) -> tuple[Path, Path] | None:
    """Folders of HEAD and of branches: the same except in a linked worktree. None if they are inconsistent."""
    dot = place / ".git"
    if dot.is_dir():
        return dot, dot
    pointer = _text(dot, SMALL)
    if not pointer.startswith("gitdir: "):
        return None
    git = (place / pointer.removeprefix("gitdir: ")).resolve()
    common = (git / (_text(git / "commondir", SMALL) or ".")).resolve()
    # a worktree's folder points back; a submodule's lies in the repository around it: nothing else may be read from here
    back = _text(git / "gitdir", SMALL)
    if back and (git / back).resolve() == dot.resolve() and git.parent == common / "worktrees":
        return git, common
    around = (parent / ".git" / "modules" for parent in place.parents)
    return (git, git) if any(git.is_relative_to(one) for one in around) and common == git else None


def _commit(git: Path, common: Path) -> str:
    said = _text(git / "HEAD", SMALL)
    for _ in range(HOPS):
        if COMMIT.match(said):
            return said
        ref = said.removeprefix("ref: ").strip()
        if not said.startswith("ref: ") or not BRANCH.match(ref) or any(part in (".", "..") for part in ref.split("/")):
            return ""
        said = _under(git, ref) or _under(common, ref) or _packed(common, ref)
    return ""


def _under(root: Path, ref: str) -> str:
    path = root / ref
    inside = path.resolve().is_relative_to(root.resolve())
    return _text(path, SMALL) if inside else ""


def _packed(common: Path, ref: str) -> str:
    """A ref's commit from packed-refs."""
    lines = _text(common / "packed-refs", PACKED).split("\n")
    return next((line.partition(" ")[0] for line in lines if line.partition(" ")[2].strip() == ref), "")


def _text(path: Path, most: int) -> str:
    """A regular file's stripped text; empty for other files, links, and files longer than `most` bytes."""
    try:
        number = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return ""
    with os.fdopen(number, "rb") as file:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            return ""
        found = file.read(most + 1)
    return found.decode("utf-8", "replace").strip() if len(found) <= most else ""
