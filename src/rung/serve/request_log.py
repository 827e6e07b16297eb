"""The request log: who asked what of which model, and what was answered, in one SQLite file for a limited time."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rung.rows import Message
from rung.serve.access.keys import redacted, redacted_turn

FILE = "requests.sqlite"
SCHEMA = """
create table if not exists requests (
  id text primary key, at real not null, key text not null, user text not null, model text not null, predictor text not null,
  status integer not null, seconds real not null, tokens_in integer not null, tokens_out integer not null,
  messages text not null, answers text not null, error text not null
);
create index if not exists requests_at on requests (at);
"""
SWEEP = 3600.0
"""Seconds between two times that old rows are deleted."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One request that came to its end."""

    id: str
    key: str
    user: str
    model: str
    predictor: str
    """Content name of the Predictor, so that an answer can be traced to what gave it."""
    status: int
    seconds: float
    tokens_in: int = 0
    tokens_out: int = 0
    messages: Sequence[Message] = ()
    answers: Sequence[str] = ()
    error: str = ""


class RequestLog:
    """Appends entries and forgets old ones. What looks like a key is left out of every text."""

    def __init__(self, path: Path, days: float):
        """`days`: how long an entry stays. The file can be read by its owner alone."""
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0), 0o600))  # written into: SQLite fills it
        self.days = days
        self._lock = threading.Lock()
        self._base = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._base.executescript("pragma journal_mode=wal; pragma synchronous=normal; pragma secure_delete=on;" + SCHEMA)
        self._swept = -SWEEP

    def add(self, entry: Entry) -> None:
        turns = [redacted_turn(turn) for turn in entry.messages]
        answers = [redacted(text) for text in entry.answers]
        row = (entry.id, time.time(), entry.key, redacted(entry.user), entry.model, entry.predictor, entry.status, entry.seconds)
        row += (entry.tokens_in, entry.tokens_out, _json(turns), _json(answers), redacted(entry.error))  # type: ignore[assignment]
        with self._lock:
            self._base.execute(f"insert or replace into requests values ({', '.join('?' * len(row))})", row)
            self._sweep()

    def close(self) -> None:
        with self._lock:
            self._base.close()

    def _sweep(self) -> None:
        if time.monotonic() - self._swept >= SWEEP:
            self._base.execute("delete from requests where at < ?", (time.time() - 86400 * self.days,))
            self._swept = time.monotonic()


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode()
