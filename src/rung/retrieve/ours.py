"""Whether this user built an index: its contents are shown and cited without another comparison with the documents.

An index folder has a signed mark with the store's id. Somebody else's index has no valid mark: inside a task it is rebuilt
from the documents, elsewhere it is not opened.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from rung import files, signed
from rung.errors import DataError
from rung.retrieve.sqlite import NAME, Sqlite, unreadable

MARK, LOCK = "own.json", "opening.lock"


def open_ours(folder: Path, say: Callable[[str], object], inside: bool) -> Sqlite:
    """The store in a folder, created if there is none. `inside`: it is in the task's own folder and may be rebuilt.

    Of several processes that find none, one creates it and the others wait: until it has its mark it looks like somebody else's.
    """
    with suppress(FileNotFoundError):  # another process empties it
        if (folder / NAME).exists() and not _fault(folder):
            return Sqlite(folder)
    try:
        with files.locked(folder / LOCK, lambda: None):
            return _opened(folder, say, inside)
    except PermissionError as error:
        if (folder / NAME).exists():
            raise _foreign(folder, _fault(folder)) from error
        raise


def _opened(folder: Path, say: Callable[[str], object], inside: bool) -> Sqlite:
    """The store, for the process that has the lock."""
    if (folder / NAME).exists() and (why := _fault(folder)):
        if not inside:
            raise _foreign(folder, why)
        say(f"{folder}: the index {why}. It is rebuilt from the documents. {signed.TRUST}")
        _empty(folder)
    store = Sqlite(folder)
    claim(folder)
    return store


def _foreign(folder: Path, why: str) -> DataError:
    return DataError(f"{folder}: the index {why}.", remedy=f"{signed.TRUST} Or index the documents to another folder.")


def _empty(folder: Path) -> None:
    """Remove all that is in a folder but the lock, which others wait for."""
    for path in folder.iterdir():
        if path.name != LOCK:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def claim(folder: Path) -> bool:
    """Mark an index as this user's; returns whether it was not before."""
    if not (folder / NAME).is_file() or not _fault(folder):
        return False
    files.write_text(folder / MARK, signed.seal(f"index/{MARK}", signed.dumps({"store": _name(folder)})))
    return True


def _fault(folder: Path) -> str:
    if not (folder / MARK).is_file():
        return signed.UNSIGNED
    value, why = signed.opened(f"index/{MARK}", (folder / MARK).read_text(encoding="utf-8", errors="replace"))
    return why or ("" if value and value.get("store") == _name(folder) else signed.FOREIGN)


def _name(folder: Path) -> str:
    """The id of the store in a folder. DataError if it cannot be read."""
    try:
        with closing(sqlite3.connect(folder / NAME, timeout=60)) as db:
            return str(db.execute("select value from facts where name = 'store'").fetchone()[0])
    except (sqlite3.DatabaseError, TypeError) as error:
        raise unreadable(folder, error) from error
