"""A store's texts in a database, by SQLAlchemy Core: the same statements on PostgreSQL and on SQLite."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rung.store.address import Address
from rung.store.database import engine, prepare, readable, tables

if TYPE_CHECKING:
    from sqlalchemy import Connection


class SqlRows:
    """The texts of one task in a database that several tasks and machines may share."""

    def __init__(self, address: Address):
        self.address = address
        self._open = threading.local()
        with readable(address):
            self._tables = tables()
            prepare(engine(address, os.getpid()), self._tables, address.task)

    # --- texts ------------------------------------------------------------------------------------------------

    def place(self, name: str) -> str:
        return f"{self.address}: {name}"

    def read(self, name: str) -> str | None:
        from sqlalchemy import select

        texts = self._tables.texts
        with self._connection() as connection:
            return connection.execute(select(texts.c.text).where(self._is(texts, name))).scalar()

    def write(self, name: str, text: str) -> None:
        from sqlalchemy import insert, update

        texts = self._tables.texts
        with self.alone() as connection:
            if not connection.execute(update(texts).where(self._is(texts, name)).values(text=text)).rowcount:
                connection.execute(insert(texts).values(task=self.address.task, name=name, text=text))

    def remove(self, name: str) -> None:
        from sqlalchemy import delete

        with self._connection() as connection:
            connection.execute(delete(self._tables.texts).where(self._is(self._tables.texts, name)))

    def lines(self, name: str) -> list[bytes]:
        from sqlalchemy import select

        lines = self._tables.lines
        with self._connection() as connection:
            found = connection.execute(select(lines.c.text).where(self._is(lines, name)).order_by(lines.c.id)).scalars()
            return [text.encode() for text in found]

    def append(self, name: str, text: str) -> None:
        from sqlalchemy import insert

        added = [{"task": self.address.task, "name": name, "text": line} for line in text.split("\n")[:-1]]
        if added:
            with self._connection() as connection:
                connection.execute(insert(self._tables.lines), added)

    def names(self) -> list[str]:
        from sqlalchemy import select

        with self._connection() as connection:
            found = [
                connection.execute(select(table.c.name).where(table.c.task == self.address.task).distinct()).scalars().all()
                for table in (self._tables.texts, self._tables.lines)
            ]
        return sorted({name for some in found for name in some})

    def stamp(self, name: str) -> tuple[object, ...]:
        text = self.read(name)
        return () if text is None else (hashlib.sha256(text.encode()).hexdigest(),)

    # --- transactions -----------------------------------------------------------------------------------------

    @contextmanager
    def alone(self) -> Iterator[Connection]:
        """A transaction that has locked the task's own row."""
        from sqlalchemy import select

        tasks = self._tables.tasks
        with self._connection() as connection:
            connection.execute(select(tasks.c.task).where(tasks.c.task == self.address.task).with_for_update())
            yield connection

    def now(self) -> float:
        """Seconds by the server's clock; SQLite has that of this machine."""
        from sqlalchemy import extract, func, select

        with self._connection() as connection:
            if connection.dialect.name == "sqlite":
                return time.time()
            return float(connection.execute(select(extract("epoch", func.clock_timestamp()))).scalar_one())

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        """The transaction that this thread has begun, or a new one, committed at the end of the block."""
        if found := getattr(self._open, "connection", None):
            yield found
            return
        with readable(self.address), engine(self.address, os.getpid()).begin() as connection:
            self._open.connection = connection
            try:
                yield connection
            finally:
                self._open.connection = None

    def _is(self, table: Any, name: str) -> Any:
        return (table.c.task == self.address.task) & (table.c.name == name)
