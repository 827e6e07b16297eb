"""Feedback of a task in one SQLite file: each note with its question, its answer, its rung and what was retrieved."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rung import calls
from rung.message import Message
from rung.serve.access.keys import redacted, redacted_turn
from rung.serve.answering.recent import Answered

FILE = "feedback.sqlite"
SCHEMA = """
create table if not exists notes (
  number integer primary key, id text not null, choice integer not null, revision integer not null default 0,
  at real not null, key text not null, user text not null, model text not null, rung text not null, predictor text not null,
  messages text not null, answer text not null, about text not null, access text not null,
  rating text not null default '', correction text not null default '', comment text not null default '',
  written real, unique (id, choice)
);
"""

Rating = Literal["up", "down"]


@dataclass(frozen=True, slots=True)
class Said:
    """What someone says of one answer; None leaves what he said before."""

    rating: Rating | None = None
    correction: str | None = None
    """What the answer should have been."""
    comment: str | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """What was said of one answer, with all that it is about."""

    number: int
    id: str
    """Of the request that was answered."""
    choice: int
    """Which of its answers."""
    revision: int
    """How often it was changed after it had been written to a file."""
    key: str
    """Name of the key that asked; empty where none was needed."""
    user: str
    model: str
    rung: str
    predictor: str
    """Content name of the Predictor that answered."""
    messages: tuple[Message, ...]
    """What was asked; the last one is the question."""
    answer: str
    about: dict[str, Any]
    """What went beyond the text: confidence, citations, why there was no answer."""
    access: tuple[str, ...]
    """Labels of documents that the asker held."""
    rating: str
    correction: str
    comment: str

    @property
    def name(self) -> str:
        """In files: the request, the answer, and the revision where there are several."""
        return f"{self.id}:{self.choice}" + (f":{self.revision}" if self.revision else "")


class Notes:
    """The notes of one task. Each call opens the file anew, so threads and processes may share it."""

    def __init__(self, folder: Path):
        """`folder`: the task's `.rung`. Nothing is created before the first note."""
        self.path = folder / FILE

    def say(self, about: Answered, choice: int, said: Said) -> Note:
        """Keep what is said of an answer. What looks like a key is left out of every text."""
        served, outcome = about.served, about.outcomes[choice]
        digest = served.predictor.digest if served.predictor else served.model.digest
        messages = [redacted_turn(turn) for turn in about.messages]
        row = [about.id, choice, time.time(), about.key, redacted(about.user), served.name, served.rung, digest]
        row += [_json(messages), redacted(outcome.text), _json(outcome.about), _json(about.access)]
        columns = "id, choice, at, key, user, model, rung, predictor, messages, answer, about, access"
        with self._open() as base:
            base.execute(f"insert or ignore into notes ({columns}) values ({', '.join('?' * len(row))})", row)
            base.execute(
                "update notes set revision = revision + (written is not null), written = null where id = ? and choice = ?",
                [about.id, choice],
            )
            for column, value in _changes(said).items():
                base.execute(f"update notes set {column} = ? where id = ? and choice = ?", [value, about.id, choice])
            [found] = _notes(base.execute(f"select {FIELDS} from notes where id = ? and choice = ?", [about.id, choice]))
        return found

    def unwritten(self) -> list[Note]:
        """The notes that no file has yet, the oldest first."""
        if not self.path.exists():
            return []
        with self._open() as base:
            return list(_notes(base.execute(f"select {FIELDS} from notes where written is null order by number")))

    def count(self) -> dict[str, int]:
        """How many notes there are: of each rating, with a correction, and not yet written to a file."""
        if not self.path.exists():
            return {"up": 0, "down": 0, "corrections": 0, "unwritten": 0}
        sums = "sum(rating = 'up'), sum(rating = 'down'), sum(correction != ''), sum(written is null)"
        with self._open() as base:
            found = base.execute(f"select {sums} from notes").fetchone()
        return dict(zip(("up", "down", "corrections", "unwritten"), (int(one or 0) for one in found)))

    def mark_written(self, notes: Iterable[Note]) -> None:
        """Remember that a file has these notes; one that was changed meanwhile stays unwritten."""
        with self._open() as base:
            for note in notes:
                same = [note.number, note.rating, note.correction, note.comment]
                sql = "update notes set written = ? where number = ? and rating = ? and correction = ? and comment = ?"
                base.execute(sql, [time.time(), *same])

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """The file in one transaction. It can be read by its owner alone."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_CREAT | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0)
        os.close(os.open(self.path, flags, 0o600))  # written into: SQLite fills it
        with closing(sqlite3.connect(self.path, timeout=30)) as base, base:
            base.execute("pragma secure_delete = on")
            base.executescript(SCHEMA)
            yield base


FIELDS = (
    "number, id, choice, revision, key, user, model, rung, predictor, "
    "messages, answer, about, access, rating, correction, comment"
)


def _notes(rows: Iterable[tuple[Any, ...]]) -> Iterator[Note]:
    for row in rows:
        content = dict(zip(FIELDS.split(", "), row))
        content["messages"] = tuple(map(_turn, json.loads(content["messages"])))
        content |= {"about": json.loads(content["about"]), "access": tuple(json.loads(content["access"]))}
        yield Note(**content)


def _turn(fields: dict[str, Any]) -> Message:
    return Message(fields["role"], fields["content"], calls.extra_fields(fields))


def _changes(said: Said) -> dict[str, str]:
    """The columns that change. An answer that is right after all needs no correction."""
    given = {"rating": said.rating, "correction": said.correction, "comment": said.comment}
    found = {column: redacted(value) for column, value in given.items() if value is not None}
    return {"correction": "", **found} if said.rating == "up" else found


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode()
