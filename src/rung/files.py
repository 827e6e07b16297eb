"""Files that are written whole or not at all, and lines that are added whole: the one place that does either.

A process may be killed and a disk may be full at any moment. What is replaced is written beside its place and renamed; what
is added to is cut back to its last whole line first, and to its old length where adding fails. Links are never written through.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from glob import escape
from pathlib import Path
from typing import Any, BinaryIO, TextIO

PART = ".part"
"""How the names of files under way end."""
DONE = "-done"
"""How the name of a folder ends that holds a finished part of a fit."""
BLOCK = 65_536
"""Bytes read at once to find the end of a file's last line."""
LOCKED_BYTE = 2**30
"""Which byte of a file is locked on Windows, where locks are on bytes: one that no line reaches."""
LOCK_WAIT = 0.5
"""Seconds between two attempts to lock a file."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FULL_WORDS = ("no space left on device", "database or disk is full", "disk quota exceeded", "os error 28", "file too large")
"""What libraries that raise no OSError say of a full disk: SQLite, safetensors, tantivy."""


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to. When the block ends it is synced and takes `path`'s place; where it fails, it goes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}{PART}")
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str, errors: str = "strict") -> None:
    """A UTF-8 file with lines that end as they are written; `errors` as `str.encode` has them."""
    with whole(path) as part:
        part.write_text(text, encoding="utf-8", errors=errors, newline="")


def write_json(path: Path, value: Any) -> None:
    """A JSON file."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1, default=str))


@contextmanager
def unfinished_text(path: Path, part: Path) -> Iterator[TextIO]:
    """A UTF-8 file at `part` to write to, which takes `path`'s place when the block ends.

    If the block fails, what was written stays in `part`; an empty `part` is removed.
    """
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            yield file
    except BaseException:
        if part.exists() and not part.stat().st_size:
            part.unlink()
        raise
    part.replace(path)


def write_private(path: Path, text: str) -> None:
    """A file that only its owner may read. If another process writes it at the same time, the first one stays."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}{PART}")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(part, path)
        except FileExistsError:
            return
        except OSError:  # a disk without hard links
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def whole_folder(folder: Path, replacing: AbstractContextManager[object] | None = None) -> Iterator[Path]:
    """A new, empty folder beside `folder` to write to. When the block ends it takes `folder`'s place; where it fails, it goes.

    `replacing`: entered only for taking that place, as a lock that others wait for should be.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}{PART}")
    part.mkdir()
    try:
        yield part
        with replacing or nullcontext():
            if folder.exists():
                shutil.rmtree(folder)
            part.replace(folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def sweep(folder: Path) -> None:
    """Remove what a killed process left under way in a folder. Only for who holds the folder's lock."""
    for left in folder.glob(f"*.*{PART}") if folder.is_dir() else ():
        _remove(left)


def sweep_beside(path: Path) -> None:
    """Remove the unfinished versions of one file or folder that killed processes left. Only for who holds its lock."""
    for left in (path.with_name(path.name + PART), *path.parent.glob(f"{escape(path.name)}.{'[0-9a-f]' * 8}{PART}")):
        _remove(left)


def _remove(left: Path) -> None:
    if left.is_dir() and not left.is_symlink():
        shutil.rmtree(left, ignore_errors=True)
    else:
        left.unlink(missing_ok=True)


def append(path: Path, text: str) -> None:
    """Add whole lines to a file, one process at a time.

    Half a line that a killed process left is cut off first; a failure leaves the file as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags, 0o666), "rb+") as file:
        _alone(file.fileno())
        end = last_line_end(file)
        file.truncate(end)
        file.seek(end)
        try:
            file.write(text.encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            os.ftruncate(file.fileno(), end)
            with suppress(OSError):  # what the buffer still holds cannot be written either
                file.close()
            os.truncate(path, end)
            raise


def _alone(file: int, now: bool = False) -> None:
    """Wait until no other process has this open file locked, and lock it until it is closed or the process ends.

    Between finding the end of the last whole line and writing after it, another process would be cut off. `now`: OSError
    instead of a wait.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        os.lseek(file, LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK if now else msvcrt.LK_LOCK, 1)  # type: ignore[attr-defined]
    else:
        fcntl.flock(file, fcntl.LOCK_EX | (fcntl.LOCK_NB if now else 0))


@contextmanager
def locked(path: Path, wait: Callable[[], None]) -> Iterator[None]:
    """Do a block alone among all processes that lock this file. `wait`: called while another has it; may raise, to stop."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        while True:
            try:
                _alone(file.fileno(), now=True)
                break
            except (BlockingIOError, PermissionError):  # Windows raises the latter
                wait()
                time.sleep(LOCK_WAIT)
        yield


def open_at(path: Path, size: int) -> BinaryIO:
    """A file cut to its first `size` bytes, opened to append to. Its reader must know how many bytes are valid."""
    file = path.open("r+b" if path.exists() else "w+b")
    file.truncate(size)
    file.seek(size)
    return file


def last_line_end(file: BinaryIO) -> int:
    """Bytes up to the end of the last whole line. Read from the end: a file may be long and is added to row by row."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - BLOCK)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def raw_lines(path: Path) -> list[bytes]:
    """Each whole line. One without an end was cut short by a killed process and is left out."""
    return path.read_bytes().split(b"\n")[:-1] if path.exists() else []


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number and text of each whole line. A byte that is no UTF-8 is replaced, and what reads the line finds it damaged."""
    for number, line in enumerate(raw_lines(path), 1):
        yield number, line.decode("utf-8", "replace")


def contents(folder: Path, without: str = "") -> dict[str, str]:
    """SHA-256 of each file of a folder by its path in there, sorted; `without` that one."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != folder / without:
            with path.open("rb") as file:
                found[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def stamp(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Times and sizes of a folder's own files: another stamp where one was written anew. No file is read for it."""
    found = ((path.name, path.stat()) for path in folder.iterdir() if path.is_file())
    return tuple(sorted((name, stat.st_mtime_ns, stat.st_size) for name, stat in found))


def links(folder: Path) -> list[Path]:
    """What in a folder, at any depth, is a link or no regular file."""
    kinds = ((path, path.lstat().st_mode) for path in sorted(folder.rglob("*")))
    return [path for path, mode in kinds if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))]


def is_full(error: BaseException | None) -> bool:
    """Whether an error, or one that it came of, is that of a full disk or of a used up quota."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, OSError) and error.errno in FULL:
            return True
        if any(words in str(error).lower() for words in FULL_WORDS):
            return True
        error = error.__cause__ or error.__context__
    return False
