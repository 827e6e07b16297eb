"""Where a ledger's entries are: one protocol for a SQLite file and for a store that machines share, and the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from rung import files
from rung.errors import RungError, disk_full
from rung.sqlite_transaction import transaction

LEDGER = "api.sqlite"
"""The file of cached answers and spending, in the `.rung` folder."""
SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, content TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS pending (id INTEGER PRIMARY KEY, tokens INTEGER, usd REAL);
CREATE TABLE IF NOT EXISTS spent (
    only INTEGER PRIMARY KEY CHECK (only = 1), calls INTEGER, failed INTEGER, unsure INTEGER, unpriced INTEGER, estimated INTEGER,
    tokens_in INTEGER, tokens_out INTEGER, tokens_cached INTEGER, usd REAL, unsure_tokens INTEGER, unsure_usd REAL);
INSERT OR IGNORE INTO spent VALUES (1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
"""


@dataclass(frozen=True, slots=True)
class Spent:
    """A task's spending so far. Dollars include only calls with a known price."""

    calls: int
    """Requests sent."""
    failed: int
    """Of these: failed at no cost."""
    unsure: int
    """Of these: sent, and interrupted before the usage arrived. They may have been billed, at most as below."""
    unpriced: int
    """Of these: without a known price; not in `usd`."""
    estimated: int
    """Of these: without reported usage; their tokens are estimated from the length of the texts."""
    tokens_in: int
    tokens_out: int
    tokens_cached: int
    usd: float
    unsure_tokens: int
    unsure_usd: float

    def with_unsure(self, calls: int, tokens: int, usd: float) -> Spent:
        """With more interrupted calls."""
        unsure, unsure_tokens = self.unsure + calls, self.unsure_tokens + tokens
        return replace(self, unsure=unsure, unsure_tokens=unsure_tokens, unsure_usd=self.unsure_usd + usd)

    def __str__(self) -> str:
        text = f"{self.calls} calls, {self.tokens_in + self.tokens_out} tokens"
        text += ", price unknown" if self.unpriced and not self.usd else f", ${self.usd:.4f}"
        if self.unpriced and self.usd:
            text += f" and {self.unpriced} calls of unknown price"
        if self.estimated:
            text += f", tokens of {self.estimated} calls estimated"
        if self.unsure:
            text += f" and at most {self.unsure_tokens} tokens, ${self.unsure_usd:.4f} more for {self.unsure} interrupted calls"
        return text


NOTHING = Spent(**dict.fromkeys(Spent.__slots__, 0))


class Calls(Protocol):
    """API calls of one task: answers by key, totals, and reservations of the requests in flight."""

    @property
    def place(self) -> str:
        """Where they are, for messages; never with a password."""

    def alone(self) -> AbstractContextManager[object]:
        """A transaction in which no other process writes. All that writes is called inside one."""

    def answer(self, key: str) -> str | None:
        """The signed text of a cached answer."""

    def answers(self) -> dict[str, str]:
        """Every cached answer's signed text, by key."""

    def keep(self, key: str, content: str) -> None:
        """Cache an answer, in the place of one with the same key."""

    def spent(self) -> Spent:
        """All totals; requests in flight, here or in a killed process, count as unsure."""

    def add(self, **amounts: float) -> None:
        """Add to the totals, by their names in `Spent`."""

    def reserve(self, tokens: int, usd: float | None) -> str:
        """Name of the new reservation of one request."""

    def end(self, name: str) -> None:
        """Remove a reservation."""


class FileCalls:
    """API calls in the file api.sqlite of a folder. Opened once per process; its caller keeps threads apart."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / LEDGER
        self.place = str(self._path)
        self._db = sqlite3.connect(self._path, timeout=60, check_same_thread=False, isolation_level=None)
        # the write-ahead log survives a killed process without a sync per call
        with self._readable():
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
        with self.alone():
            for statement in SCHEMA.split(";\n"):
                self._db.execute(statement)

    @contextmanager
    def alone(self) -> Iterator[None]:
        with self._readable(), transaction(self._db, "begin immediate"):
            yield

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Turns SQLite's errors for a damaged file or a full disk into errors with a remedy."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            if files.is_full(error):
                raise disk_full(self._path, error) from error
            raise RungError(
                f"the ledger of API calls cannot be read ({error}).",
                where=str(self._path),
                remedy="Delete the file. What was spent is then unknown, and answers stored nowhere else are paid again.",
            ) from error

    def answer(self, key: str) -> str | None:
        with self._readable():
            row = self._db.execute("SELECT content FROM answers WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def answers(self) -> dict[str, str]:
        with self._readable():
            return dict(self._db.execute("SELECT key, content FROM answers").fetchall())

    def keep(self, key: str, content: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", (key, content))

    def spent(self) -> Spent:
        with self._readable():
            found = Spent(*self._db.execute(f"SELECT {', '.join(Spent.__slots__)} FROM spent").fetchone())
            count, tokens, usd = self._db.execute("SELECT count(*), sum(tokens), sum(usd) FROM pending").fetchone()
        return found.with_unsure(count, tokens or 0, usd or 0.0)

    def add(self, **amounts: float) -> None:
        changes = ", ".join(f"{name} = {name} + ?" for name in amounts)
        self._db.execute(f"UPDATE spent SET {changes}", tuple(amounts.values()))

    def reserve(self, tokens: int, usd: float | None) -> str:
        return str(self._db.execute("INSERT INTO pending (tokens, usd) VALUES (?, ?)", (tokens, usd)).lastrowid)

    def end(self, name: str) -> None:
        self._db.execute("DELETE FROM pending WHERE id = ?", (int(name),))
