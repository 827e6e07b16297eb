"""Opening a database: its tables, its connections, and errors that say what to do and show no password."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from rung import files
from rung.errors import RungError, disk_full
from rung.store.address import Address

if TYPE_CHECKING:
    from sqlalchemy import Engine, MetaData, Table

WAIT = 60
"""Seconds to wait for another process that writes to the file of SQLite."""
CONNECT = 10
"""Seconds to wait for a server that does not answer."""
TRIES = 4
"""Attempts to make the tables while other processes make them too."""
POOL = 4
"""Connections that a process leaves open."""


class StoreError(RungError):
    """The database of a store cannot be used."""


@dataclass(frozen=True, slots=True)
class Tables:
    """What a store is in a database."""

    all: MetaData
    tasks: Table
    """A row for each task, which is locked by who must be alone."""
    texts: Table
    """Texts that are replaced as a whole."""
    lines: Table
    """Lines in the order in which they were added."""


@cache
def tables() -> Tables:
    """The tables of every store. StoreError without SQLAlchemy."""
    try:
        from sqlalchemy import BigInteger, Column, Integer, MetaData, String, Table, Text
    except ImportError:
        raise StoreError("SQLAlchemy, which speaks to databases, is not installed.", remedy="pip install 'rung[sql]'") from None
    meta, name = MetaData(), String(400)
    number = BigInteger().with_variant(Integer(), "sqlite")  # SQLite counts up by itself only in an INTEGER
    tasks = Table("rung_tasks", meta, Column("task", name, primary_key=True))
    texts = Table(
        "rung_texts",
        meta,
        Column("task", name, primary_key=True),
        Column("name", name, primary_key=True),
        Column("text", Text, nullable=False),
    )
    lines = Table(
        "rung_lines",
        meta,
        Column("id", number, primary_key=True, autoincrement=True),
        Column("task", name, nullable=False),
        Column("name", name, nullable=False),
        Column("text", Text, nullable=False),
    )
    from sqlalchemy import Index

    Index("rung_lines_by_name", lines.c.task, lines.c.name, lines.c.id)
    return Tables(meta, tasks, texts, lines)


@cache
def engine(address: Address, process: int) -> Engine:
    """The connections of one process to a database: a forked process must not use those of another.

    StoreError without the database's driver.
    """
    try:
        return _engine(address)
    except ImportError as error:
        raise StoreError(f"{error}.", where=str(address), remedy="pip install 'rung[sql]'") from None


def _engine(address: Address) -> Engine:
    import sqlalchemy

    url = sqlalchemy.make_url(address.database)
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    if address.password:
        url = url.set(password=address.password)
    if url.get_backend_name() == "sqlite":
        made = sqlalchemy.create_engine(url, connect_args={"timeout": WAIT})
        _immediate(made)
        return made
    return sqlalchemy.create_engine(url, pool_size=POOL, pool_pre_ping=True, connect_args={"connect_timeout": CONNECT})


def _immediate(made: Engine) -> None:
    """Begin each transaction of SQLite with the right to write: one that asks for it later can be refused."""
    from sqlalchemy import event

    @event.listens_for(made, "connect")
    def _connected(connection: Any, _: object) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")

    @event.listens_for(made, "begin")
    def _begun(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def prepare(made: Engine, found: Tables, task: str) -> None:
    """Make the tables and the task's row unless they are there. Two processes may do so at the same time."""
    from sqlalchemy import insert, select
    from sqlalchemy.exc import DBAPIError

    started = time.monotonic()
    for left in reversed(range(TRIES)):
        try:
            with made.begin() as connection:
                found.all.create_all(connection)
                if not connection.execute(select(found.tasks).where(found.tasks.c.task == task)).first():
                    connection.execute(insert(found.tasks).values(task=task))
            return
        except DBAPIError as error:
            if not left or not _raced(made, error) or time.monotonic() > started + CONNECT:
                raise


def _raced(made: Engine, error: Exception) -> bool:
    """Whether another process may have made the same thing at the same moment. A server that refuses is not asked again.

    SQLite answers "database is locked" at once when two processes turn on its write-ahead log.
    """
    from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

    if made.dialect.name == "sqlite" and isinstance(error, OperationalError):
        return "locked" in str(error)
    return isinstance(error, IntegrityError | ProgrammingError)


@contextmanager
def readable(address: Address) -> Iterator[None]:
    """Turns a database's errors into ones that say where and what to do, and that show no password."""
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith("sqlalchemy"):
            raise
        if files.is_full(error):
            raise disk_full(address, error) from None
        why = str(getattr(error, "orig", None) or error).strip().split("\n")[0]
        if address.password:
            why = why.replace(address.password, "***")
        raise StoreError(
            f"the store cannot be used ({why}).",
            where=str(address),
            remedy="Is the address right, and does the server run and let this user in? A password: PGPASSWORD or ~/.pgpass.",
        ) from None
