"""The books of a task's calls in one SQLite file: answers kept by content, what was spent, and the hard stop at a limit.

Several processes may share the file. Before a request is sent, the most that it can cost is reserved; when its answer
comes, answer and bill are written in one transaction. A process killed between the two leaves its reservation, which
goes on counting: the seller may have billed it.
"""

from __future__ import annotations

import math
import sqlite3
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rung import files, signed
from rung.errors import BudgetError, RungError, disk_full
from rung.lm.remote.prices import Price
from rung.lm.remote.settings import LEDGER, Limits

SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, content TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS pending (id INTEGER PRIMARY KEY, tokens INTEGER, usd REAL);
CREATE TABLE IF NOT EXISTS spent (
    only INTEGER PRIMARY KEY CHECK (only = 1), calls INTEGER, failed INTEGER, unsure INTEGER, unpriced INTEGER, estimated INTEGER,
    tokens_in INTEGER, tokens_out INTEGER, tokens_cached INTEGER, usd REAL, unsure_tokens INTEGER, unsure_usd REAL);
INSERT OR IGNORE INTO spent VALUES (1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
"""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one answer took, as the server says."""

    tokens_in: int
    tokens_out: int
    tokens_cached: int = 0
    """Of `tokens_in`: found in the seller's prompt cache."""
    estimated: bool = False
    """The server did not say, and the tokens are guessed from the length of the text."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What a task's calls have taken so far. Dollars are those of the calls whose price is known."""

    calls: int
    """Requests sent."""
    failed: int
    """Of these: refused or broken, at no cost."""
    unsure: int
    """Of these: sent, and broken off before the bill came. They may have been billed, at most as below."""
    unpriced: int
    """Of these: answered by a model without a known price; not in `usd`."""
    estimated: int
    """Of these: answered without a word on tokens, which are then guessed from the length of the texts."""
    tokens_in: int
    tokens_out: int
    tokens_cached: int
    usd: float
    unsure_tokens: int
    unsure_usd: float

    def __str__(self) -> str:
        text = f"{self.calls} calls, {self.tokens_in + self.tokens_out} tokens"
        text += ", price unknown" if self.unpriced and not self.usd else f", ${self.usd:.4f}"
        if self.unpriced and self.usd:
            text += f" and {self.unpriced} calls of unknown price"
        if self.estimated:
            text += f", tokens of {self.estimated} calls estimated"
        if self.unsure:
            text += f" and at most {self.unsure_tokens} tokens, ${self.unsure_usd:.4f} more for {self.unsure} calls broken off"
        return text


@dataclass(frozen=True, slots=True)
class Reserved:
    """One request on its way."""

    id: int
    tokens: int
    usd: float | None


def sealed(key: str, answer: dict[str, Any]) -> str:
    """A kept answer as text, signed under its key."""
    return signed.seal(f"answers/{key}", signed.dumps(answer))


def opened(key: str, content: str) -> tuple[dict[str, Any] | None, str]:
    """A kept answer, and why it is not to be believed; empty where it is."""
    return signed.opened(f"answers/{key}", content)


class Ledger:
    """Opened once a process and shared by its threads."""

    def __init__(
        self,
        folder: Path,
        limits: Limits = Limits(),
        until: Callable[[], float] = lambda: math.inf,
        say: Callable[[str], object] = warnings.warn,
    ):
        """`until`: `time.monotonic()` after which nothing is sent, beside the limit in seconds from now on.

        `say`: told once where kept answers are not believed.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._path, self._say, self._said = folder / LEDGER, say, False
        self.limits, self._until = limits, until
        self._end = time.monotonic() + (math.inf if limits.seconds is None else limits.seconds)
        self._db = sqlite3.connect(folder / LEDGER, timeout=60, check_same_thread=False, isolation_level=None)
        self._lock, self._under_way = threading.Condition(threading.RLock()), 0
        # the write-ahead log survives a killed process without a sync for every call
        with self._readable():
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
        with self._writing() as db:
            for statement in SCHEMA.split(";\n"):
                db.execute(statement)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that no other thread or process writes into."""
        with self._lock, self._readable():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # where the disk is full, SQLite has rolled back itself
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """What SQLite says of a damaged file or a full disk, as an error that says how to go on."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            if files.is_full(error):
                raise disk_full(self._path, error) from error
            raise RungError(
                f"the books of calls to endpoints cannot be read ({error}).",
                where=str(self._path),
                remedy="Delete the file. What was spent is then no longer known, and answers kept nowhere else are paid again.",
            ) from error

    def kept(self, key: str) -> dict[str, Any] | None:
        """The answer kept under a key, with its original tokens and seconds."""
        with self._lock, self._readable():
            row = self._db.execute("SELECT content FROM answers WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        value, why = opened(key, row[0])
        if why and not self._said:
            self._said = True
            self._say(f"{self._path}: an answer {why}. It is asked again, and so are others like it. {signed.TRUST}")
        return None if why else value

    def spent(self) -> Spent:
        """All that was spent on this task; requests on their way, here or in a killed process, stand as unsure."""
        with self._lock:
            found = Spent(*self._db.execute(f"SELECT {', '.join(Spent.__slots__)} FROM spent").fetchone())
            count, tokens, usd = self._db.execute("SELECT count(*), sum(tokens), sum(usd) FROM pending").fetchone()
        return replace(
            found,
            unsure=found.unsure + count,
            unsure_tokens=found.unsure_tokens + (tokens or 0),
            unsure_usd=found.unsure_usd + (usd or 0.0),
        )

    @property
    def seconds_left(self) -> float:
        """Until the time is used up; infinite without a limit."""
        return min(self._end, self._until()) - time.monotonic()

    def reserve(self, tokens: int, usd: float | None) -> Reserved:
        """Set aside the most that one request can take; BudgetError where a limit leaves no room for it.

        While other requests of this process are under way it waits: what they leave over may be enough.
        """
        while True:
            with self._lock:
                with self._writing() as db:
                    over = self._over(tokens, usd)
                    if not over:
                        row = db.execute("INSERT INTO pending (tokens, usd) VALUES (?, ?)", (tokens, usd))
                        db.execute("UPDATE spent SET calls = calls + 1")
                        self._under_way += 1
                        return Reserved(row.lastrowid or 0, tokens, usd)
                if not self._under_way or over.startswith("calls") or self.seconds_left <= 0:
                    raise BudgetError(
                        f"stopped before the next call, which could go over the budget: {over}. Spent so far: {self.spent()}.",
                        remedy="Raise the budget in rung.yaml; the answers that came are kept and are not paid again.",
                    )
                self._lock.wait(timeout=1.0)

    def _over(self, tokens: int, usd: float | None) -> str:
        """Which limit one more call would break; empty where none."""
        now, limits = self.spent(), self.limits
        if limits.calls is not None and now.calls + 1 > limits.calls:
            return f"calls are limited to {limits.calls}"
        held = now.tokens_in + now.tokens_out + now.unsure_tokens
        if limits.tokens is not None and held + tokens > limits.tokens:
            return f"tokens are limited to {limits.tokens}, {held} are spent or reserved, and the call may take {tokens}"
        if limits.usd is not None and usd is None:
            return "dollars are limited, and the model's price is not known (set it under `prices`)"
        if limits.usd is not None and usd is not None and now.usd + now.unsure_usd + usd > limits.usd:
            held_usd = now.usd + now.unsure_usd
            return f"dollars are limited to {limits.usd:g}, {held_usd:.6f} are spent or reserved, and the call may take {usd:.6f}"
        return "the time is used up" if self.seconds_left <= 0 else ""

    def settle(
        self, reserved: Reserved, usage: Usage, price: Price | None, key: str = "", answer: dict[str, Any] | None = None
    ) -> None:
        """Book what an answered request took, and keep its answer in the same transaction where a key is given."""
        usd = price.usd(usage.tokens_in, usage.tokens_out, usage.tokens_cached) if price else 0.0
        with self._closing(reserved) as db:
            db.execute(
                "UPDATE spent SET unpriced = unpriced + ?, estimated = estimated + ?, usd = usd + ?, "
                "tokens_in = tokens_in + ?, tokens_out = tokens_out + ?, tokens_cached = tokens_cached + ?",
                (price is None, usage.estimated, usd, usage.tokens_in, usage.tokens_out, usage.tokens_cached),
            )
            if key:
                db.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", (key, sealed(key, answer or {})))

    def refused(self, reserved: Reserved) -> None:
        """The server said no, or never got the request: nothing was billed."""
        with self._closing(reserved) as db:
            db.execute("UPDATE spent SET failed = failed + 1")

    def broken_off(self, reserved: Reserved) -> None:
        """No whole answer came: it may have been billed, so the reservation goes on counting."""
        with self._closing(reserved) as db:
            db.execute(
                "UPDATE spent SET unsure = unsure + 1, unsure_tokens = unsure_tokens + ?, unsure_usd = unsure_usd + ?",
                (reserved.tokens, reserved.usd or 0.0),
            )

    @contextmanager
    def _closing(self, reserved: Reserved) -> Iterator[sqlite3.Connection]:
        with self._lock:
            with self._writing() as db:
                db.execute("DELETE FROM pending WHERE id = ?", (reserved.id,))
                yield db
            self._under_way -= 1
            self._lock.notify_all()
