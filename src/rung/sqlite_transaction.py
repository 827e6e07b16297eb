"""A transaction of a SQLite connection that commits by itself otherwise."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def transaction(db: sqlite3.Connection, begin: str) -> Iterator[None]:
    """Commit at the end of the block, roll back after an error. `begin`: "begin" to read, "begin immediate" to write.

    `db` was opened with `isolation_level=None`.
    """
    db.execute(begin)
    try:
        yield
        db.execute("commit")
    except BaseException:
        if db.in_transaction:  # on a full disk SQLite has already rolled back
            db.execute("rollback")
        raise
