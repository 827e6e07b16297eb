"""The ledger of a task's API calls in one SQLite file: cached answers, what was spent, and the hard stop at a limit.

Several processes may share the file. Before a request is sent, its maximum cost is reserved; when its answer arrives, answer
and cost are written in one transaction. A process killed in between leaves its reservation, which still counts: the provider
may have billed the request.
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
    """Tokens of one answer, as the server reports them."""

    tokens_in: int
    tokens_out: int
    tokens_cached: int = 0
    """Of `tokens_in`: served from the provider's prompt cache."""
    estimated: bool = False
    """The server did not report them; they are estimated from the length of the text."""


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


@dataclass(frozen=True, slots=True)
class Reservation:
    """The reservation of one request in flight."""

    id: int
    tokens: int
    usd: float | None


def signed_text(key: str, answer: dict[str, Any]) -> str:
    """An answer as text, signed under its key."""
    return signed.seal(f"answers/{key}", signed.dumps(answer))


def verified(key: str, content: str) -> tuple[dict[str, Any] | None, str]:
    """A cached answer, and why it is not trusted; empty if it is."""
    return signed.opened(f"answers/{key}", content)


class Ledger:
    """Opened once per process and shared by its threads."""

    def __init__(
        self,
        folder: Path,
        limits: Limits = Limits(),
        until: Callable[[], float] = lambda: math.inf,
        say: Callable[[str], object] = warnings.warn,
    ):
        """`until`: `time.monotonic()` after which nothing is sent, in addition to the limit in seconds from now.

        `say` reports once if cached answers are not trusted.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._path, self._say, self._said = folder / LEDGER, say, False
        self.limits, self._until = limits, until
        self._end = time.monotonic() + (math.inf if limits.seconds is None else limits.seconds)
        self._db = sqlite3.connect(folder / LEDGER, timeout=60, check_same_thread=False, isolation_level=None)
        self._lock, self._in_flight = threading.Condition(threading.RLock()), 0
        # the write-ahead log survives a killed process without a sync per call
        with self._readable():
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
        with self._writing() as db:
            for statement in SCHEMA.split(";\n"):
                db.execute(statement)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """An exclusive write transaction."""
        with self._lock, self._readable():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # on a full disk SQLite has already rolled back
                    self._db.execute("ROLLBACK")
                raise

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

    def cached(self, key: str) -> dict[str, Any] | None:
        """The cached answer of a key, with its original tokens and seconds."""
        with self._lock, self._readable():
            row = self._db.execute("SELECT content FROM answers WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        value, why = verified(key, row[0])
        if why and not self._said:
            self._said = True
            self._say(f"{self._path}: an answer {why}. It is asked again, and so are others like it. {signed.TRUST}")
        return None if why else value

    def spent(self) -> Spent:
        """All spending on this task; requests in flight, here or in a killed process, count as unsure."""
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
        """Seconds until the time limit; infinite without one."""
        return min(self._end, self._until()) - time.monotonic()

    def reserve(self, tokens: int, usd: float | None) -> Reservation:
        """Reserve the maximum that one request can take; BudgetError if it could exceed a limit.

        Waits while other requests of this process are in flight: what they do not use may be enough.
        """
        while True:
            with self._lock:
                with self._writing() as db:
                    over = self._over(tokens, usd)
                    if not over:
                        row = db.execute("INSERT INTO pending (tokens, usd) VALUES (?, ?)", (tokens, usd))
                        db.execute("UPDATE spent SET calls = calls + 1")
                        self._in_flight += 1
                        return Reservation(row.lastrowid or 0, tokens, usd)
                if not self._in_flight or over.startswith("calls") or self.seconds_left <= 0:
                    raise BudgetError(
                        f"stopped before the next call, which could exceed the budget: {over}. Spent so far: {self.spent()}.",
                        remedy="Raise the budget in rung.yaml; answers so far are cached and not paid again.",
                    )
                self._lock.wait(timeout=1.0)

    def _over(self, tokens: int, usd: float | None) -> str:
        """The limit that one more call would exceed; empty if none."""
        now, limits = self.spent(), self.limits
        if limits.calls is not None and now.calls + 1 > limits.calls:
            return f"calls are limited to {limits.calls}"
        used = now.tokens_in + now.tokens_out + now.unsure_tokens
        if limits.tokens is not None and used + tokens > limits.tokens:
            return f"tokens are limited to {limits.tokens}, {used} are spent or reserved, and the call may take {tokens}"
        if limits.usd is not None and usd is None:
            return "dollars are limited, and the model's price is not known (set it under `prices`)"
        if limits.usd is not None and usd is not None and now.usd + now.unsure_usd + usd > limits.usd:
            used_usd = now.usd + now.unsure_usd
            return f"dollars are limited to {limits.usd:g}, {used_usd:.6f} are spent or reserved, and the call may take {usd:.6f}"
        return "the time is used up" if self.seconds_left <= 0 else ""

    def settle(
        self, reserved: Reservation, usage: Usage, price: Price | None, key: str = "", answer: dict[str, Any] | None = None
    ) -> None:
        """Record the usage of an answered request, and cache its answer in the same transaction if `key` is given."""
        usd = price.usd(usage.tokens_in, usage.tokens_out, usage.tokens_cached) if price else 0.0
        with self._closing(reserved) as db:
            db.execute(
                "UPDATE spent SET unpriced = unpriced + ?, estimated = estimated + ?, usd = usd + ?, "
                "tokens_in = tokens_in + ?, tokens_out = tokens_out + ?, tokens_cached = tokens_cached + ?",
                (price is None, usage.estimated, usd, usage.tokens_in, usage.tokens_out, usage.tokens_cached),
            )
            if key:
                db.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", (key, signed_text(key, answer or {})))

    def release(self, reserved: Reservation) -> None:
        """The server refused or never received the request: nothing was billed."""
        with self._closing(reserved) as db:
            db.execute("UPDATE spent SET failed = failed + 1")

    def mark_unsure(self, reserved: Reservation) -> None:
        """No complete answer arrived: it may have been billed, so the reservation still counts."""
        with self._closing(reserved) as db:
            db.execute(
                "UPDATE spent SET unsure = unsure + 1, unsure_tokens = unsure_tokens + ?, unsure_usd = unsure_usd + ?",
                (reserved.tokens, reserved.usd or 0.0),
            )

    @contextmanager
    def _closing(self, reserved: Reservation) -> Iterator[sqlite3.Connection]:
        with self._lock:
            with self._writing() as db:
                db.execute("DELETE FROM pending WHERE id = ?", (reserved.id,))
                yield db
            self._in_flight -= 1
            self._lock.notify_all()
