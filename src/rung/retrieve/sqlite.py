"""The default store: one SQLite file in WAL mode; the folders of the dense and lexical indexes are derived from it.

knowledge.sqlite   documents, passages, vectors by text, access labels and other tags, configuration, generation
dense/ lexical/    derived, each stamped with its generation; updated or rebuilt if it is outdated
lock               one process at a time writes the derived folders
updating.lock      and one at a time reads documents into the index
opening.lock       and one at a time makes the index

Every `apply` is one transaction that increments the generation. A process killed at any moment leaves the old generation or
the new one; the next process updates the derived folders.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from rung import files
from rung.errors import BusyError, DataError, RungError, disk_full
from rung.retrieve import dense, lexical
from rung.retrieve.passage import Passage
from rung.retrieve.sqlite_rows import COLUMNS, INSERT, PASSAGES, TABLES, passage, values
from rung.retrieve.store import Allow, Change, Found, Health, IndexConfig, Vector, tags, text_digest
from rung.sqlite_transaction import transaction

NAME = "knowledge.sqlite"

MAX_UNUSED = 0.5
"""Share of unused vectors above which they are deleted; until then a text that returns is not embedded again."""

MASKS = 64
"""Filter masks cached per generation; a mask has one byte per passage."""


@dataclass(frozen=True, slots=True)
class View:
    """One generation, open for search."""

    generation: int
    matrix: dense.Matrix | None
    words: lexical.Lexical
    live: NDArray[np.int64]
    """Row numbers of all passages, ascending."""
    names: Mapping[int, str]
    """Row number to id, by path and then row: looking them up in the file took an eighth of a search."""
    places: Mapping[int, int]
    """Row number to its place in that order, which breaks ties: row numbers depend on when a file was read."""
    masks: dict[Any, tuple[bool, NDArray[np.bool_]]] = field(default_factory=dict)
    """For each set of clauses: whether it permits everything, and the permitted lines of the matrix."""

    def best(self, found: Sequence[tuple[int, float]], depth: int) -> Found:
        """The `depth` best of a leg's rows, as ids."""
        known = sorted((-score, self.places[row], row) for row, score in found if row in self.places)
        return [(self.names[row], -score) for score, _, row in known[:depth]]


class Sqlite:
    """The store in a folder. May be shared by threads; other processes may read, and one may write, at the same time."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._lock = threading.RLock()
        self._view: View | None = None
        self._db = sqlite3.connect(folder / NAME, timeout=60, isolation_level=None, check_same_thread=False)
        try:
            self._db.execute("pragma journal_mode = wal")
            self._db.execute("pragma synchronous = normal")  # in WAL mode a killed process loses nothing
            self._db.execute("pragma foreign_keys = on")
            self._db.executescript(TABLES)
        except sqlite3.DatabaseError as error:
            raise unreadable(folder, error) from error
        self._db.execute("insert or ignore into facts values ('store', ?), ('generation', '0')", [uuid.uuid4().hex])
        self._name = self._fact("store")

    # --- what it holds ----------------------------------------------------------------------------------------

    def config(self) -> IndexConfig | None:
        found = self._fact("making")
        return IndexConfig(**json.loads(found)) if found else None

    def generation(self) -> int:
        return int(self._fact("generation"))

    def documents(self) -> dict[str, str]:
        return dict(self._all("select path, digest from documents order by path"))

    def passages(self, ids: Sequence[str]) -> list[Passage]:
        sql = f"select {COLUMNS} from {PASSAGES} where p.id in (select value from json_each(?))"
        found = {row[0]: passage(row) for row in self._all(sql, [json.dumps(list(ids))])}
        return [found[one] for one in ids]

    def file(self, path: str) -> list[Passage]:
        return [passage(row) for row in self._all(f"select {COLUMNS} from {PASSAGES} where d.path = ? order by p.row", [path])]

    def contents(self) -> Iterator[tuple[Change, Vector | None]]:
        documents = self._all("select document, path, digest, refused from documents order by document")
        for document, path, digest, refused in documents:
            sql = (
                f"select {COLUMNS}, v.value from passages p join documents d using (document) left join vectors v using (vector)"
            )
            rows = self._all(f"{sql} where p.document = ? order by p.row", [document])
            change = Change(path, digest, tuple(passage(row) for row in rows), refused)
            yield change, np.stack([np.frombuffer(row[-1], np.float32) for row in rows]) if rows and rows[0][-1] else None

    def health(self) -> Health:
        view = self._seen()
        lines = None if view.matrix is None else int(np.isin(view.matrix.rows, view.live).sum())
        refused = dict(self._all("select path, refused from documents where refused != '' order by path"))
        documents = int(self._all("select count(*) from documents where refused = ''")[0][0])
        return Health(documents, len(view.live), view.words.count(), lines, view.generation, refused)

    # --- changing it ------------------------------------------------------------------------------------------

    def embedded(self, embedder: str, texts: Iterable[str]) -> set[str]:
        sql = "select text from vectors where embedder = ? and text in (select value from json_each(?))"
        return {row[0] for row in self._all(sql, [embedder, json.dumps(list(texts))])}

    def keep_vectors(self, embedder: str, texts: Sequence[str], vectors: Vector) -> None:
        blobs = [np.ascontiguousarray(vector, np.float32).tobytes() for vector in vectors]
        with self._writing() as db:
            rows = ((embedder, text, blob) for text, blob in zip(texts, blobs, strict=True))
            db.executemany("insert or ignore into vectors (embedder, text, value) values (?, ?, ?)", rows)

    def apply(self, changes: Sequence[Change], config: IndexConfig) -> None:
        with self._writing() as db:
            generation = int(self._fact("generation")) + 1
            for change in changes:
                db.execute("delete from documents where path = ?", [change.path])
                if change.digest:
                    self._put(change, config.embedder_digest)
            facts = [("generation", str(generation)), ("making", json.dumps(asdict(config)))]
            db.executemany("insert or replace into facts values (?, ?)", facts)

    def _put(self, change: Change, embedder: str) -> None:
        sql = "insert into documents (path, digest, refused) values (?, ?, ?)"
        document = self._db.execute(sql, [change.path, change.digest, change.refused]).lastrowid
        for p in change.passages:
            vector = None
            if embedder:
                sql = "select vector from vectors where embedder = ? and text = ?"
                kept = self._all(sql, [embedder, text_digest(p)])
                assert kept, f"no vector is stored for {p.where}"
                vector = kept[0][0]
            row = self._db.execute(INSERT, values(p, document, vector)).lastrowid
            self._db.executemany("insert or ignore into tags values (?, ?)", [(tag, row) for tag in tags(p)])

    def _drop_spare_vectors(self) -> None:
        (all_of_them,), (used,) = self._all(
            "select count(*) from vectors union all select count(distinct vector) from passages where vector is not null"
        )
        if all_of_them - used > MAX_UNUSED * all_of_them:
            self._db.execute("delete from vectors where vector not in (select vector from passages where vector is not null)")

    # --- the legs ---------------------------------------------------------------------------------------------

    def lexical(self, question: str, depth: int, allow: Allow) -> Found:
        view, clauses = self._seen(), allow.clauses()
        everything, _ = self._mask(view, clauses)
        return view.best(view.words.search(question, depth, () if everything else clauses), depth)

    def dense(self, vector: Vector, depth: int, allow: Allow) -> Found:
        view = self._seen()
        if view.matrix is None:
            return []
        _, mask = self._mask(view, allow.clauses())
        return view.best(view.matrix.search(vector, depth, mask), depth)

    def settle(self) -> None:
        with self._writing():
            self._drop_spare_vectors()
        self._seen()

    @contextmanager
    def updating(self) -> Iterator[None]:
        lock = FileLock(self.folder / "updating.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise BusyError(
                "another process is indexing into it.", where=str(self.folder), remedy="Wait for it to end."
            ) from None
        try:
            yield
        finally:
            lock.release()

    def close(self) -> None:
        with self._lock:
            self._view = None
            self._db.close()

    def _seen(self) -> View:
        """The current generation, with its derived folders updated first if necessary."""
        with self._lock:
            if self._view is None or self._view.generation != self.generation():
                with FileLock(self.folder / "lock"), self._reading():
                    self._view = self._opened()
            return self._view

    def _opened(self) -> View:
        generation, config = self.generation(), self.config()
        names = dict(self._all(f"select p.row, p.id from {PASSAGES} order by d.path, p.row"))
        live = np.sort(np.array(list(names), np.int64))
        matrix = None
        if config and config.embedder_digest:
            first = self._all("select length(value) from passages join vectors using (vector) limit 1")
            width = first[0][0] // 4 if first else 0
            dense.catch_up(self.folder / "dense", self._name, generation, live, width, self._vectors_after)
            matrix = dense.load(self.folder / "dense")
        documents = [document for (document,) in self._all("select document from documents order by path")]
        lexical.catch_up(self.folder / "lexical", self._name, generation, documents, self._passages_of)
        places = {row: place for place, row in enumerate(names)}
        return View(generation, matrix, lexical.load(self.folder / "lexical"), live, names, places)

    def _passages_of(self, documents: Sequence[int]) -> Iterator[tuple[int, int, Passage]]:
        sql = f"select p.row, p.document, {COLUMNS} from {PASSAGES}"
        sql += " where p.document in (select value from json_each(?)) order by d.path, p.row"
        for row in self._db.execute(sql, [json.dumps(list(documents))]):
            yield row[0], row[1], passage(row[2:])

    def _vectors_after(self, row: int) -> Iterator[tuple[int, bytes]]:
        yield from self._db.execute(
            "select row, value from passages join vectors using (vector) where row > ? order by row", [row]
        )

    def _mask(self, view: View, clauses: tuple[frozenset[str], ...]) -> tuple[bool, NDArray[np.bool_]]:
        with self._lock:
            if clauses not in view.masks:
                if len(view.masks) >= MASKS:
                    view.masks.clear()
                allowed = view.live
                for clause in clauses:
                    sql = "select distinct row from tags where tag in (select value from json_each(?))"
                    tagged = np.array([row for (row,) in self._all(sql, [json.dumps(sorted(clause))])], np.int64)
                    allowed = np.intersect1d(allowed, tagged)
                lines = np.zeros(0, bool) if view.matrix is None else np.isin(view.matrix.rows, allowed, assume_unique=True)
                view.masks[clauses] = (len(allowed) == len(view.live), lines)
            return view.masks[clauses]

    # --- SQLite -----------------------------------------------------------------------------------------------

    def _all(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._lock, self._readable():
            return self._db.execute(sql, values).fetchall()

    def _fact(self, name: str) -> str:
        found = self._all("select value from facts where name = ?", [name])
        return found[0][0] if found else ""

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._transaction("begin immediate") as db:
            yield db

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """A read transaction: all reads see one generation."""
        with self._transaction("begin") as db:
            yield db

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        with self._lock, self._readable(), transaction(self._db, begin):
            yield self._db

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Turns SQLite's errors for a damaged file or a full disk into errors with a remedy."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise unreadable(self.folder, error) from error


def unreadable(folder: Path, error: Exception) -> RungError:
    """The error for an index that SQLite cannot read or write."""
    if files.is_full(error):
        return disk_full(folder, error)
    return DataError(
        f"the index cannot be read ({error}).",
        where=str(folder / NAME),
        remedy="Delete the folder and run rung index again; everything in it comes from the documents.",
    )
