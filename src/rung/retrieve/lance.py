"""The store for large indexes: one LanceDB table in a folder or an object store; the lexical index is derived, locally.

A row is a passage, a document or the facts, so that deleting a file's old passages, adding its new ones and storing the
configuration is one merge, and thus one commit. The generation is the table's version. BM25 uses the same tantivy code as the
SQLite store, in a local folder updated from the table: the same questions give the same passages, and faults of Lance's own
full-text index under append, delete and compaction do not matter.

Vector search is exact up to `approximate_from` passages; from then on it uses an index, refined with exact distances.
Passages not yet in that index are searched exactly, and `Health.unindexed` is their number. Old versions are deleted after
Lance's default of a week; `delete_unverified` is never used, since it can remove what another process is writing.

Several machines may write to one table. Every commit updates the row of facts, so that two at once conflict and Lance does one
of them again on the other's result. Numbers of documents are drawn at random, so no writer needs to know of another's.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from rung.errors import BusyError
from rung.home import home
from rung.retrieve import lexical
from rung.retrieve.lance_errors import check_cpu, needs_store, usable
from rung.retrieve.lance_rows import FACTS, HEAD, PLACE, among, arrow, gave_way, head, merged, passage, row, tagged
from rung.retrieve.passage import Passage
from rung.retrieve.store import Allow, Change, Found, Health, IndexConfig, Vector, text_digest

LANCE = "lance://"
TABLE = "knowledge"
APPROXIMATE_FROM = 200_000
"""Passages from which an exact search is too slow for an answer."""
NUMBER_BITS = 62
"""Of a document's number, drawn at random; its passages have the numbers from there on. Among ten million documents of twenty
passages, two meet in one of 5,000 tables."""
REFINE = 10
"""Passages scored exactly, as a multiple of those requested, when the vector index is used."""


@dataclass(frozen=True, slots=True)
class View:
    generation: int
    words: lexical.Lexical


class _Preempted(Exception):
    """Another process created or replaced the table first."""


class Lance:
    """The store at `lance://` and a folder, or `lance://` and an object store's URL (s3://bucket/folder, gs://…).

    Many processes may read; on any one machine, one at a time may write. `derived`: folder of the lexical index, by
    default in this machine's cache.
    """

    def __init__(self, url: str, derived: Path | None = None, approximate_from: int = APPROXIMATE_FROM):
        check_cpu()
        import lancedb

        place = url.removeprefix(LANCE)
        url = place if "://" in place else str(Path(place).expanduser().resolve())
        derived = derived or home() / "lexical" / hashlib.sha256(url.encode()).hexdigest()[:16]
        derived.mkdir(parents=True, exist_ok=True)
        self.url, self.derived, self.approximate_from = url, derived, approximate_from
        self._lock = threading.RLock()
        self._view: View | None = None
        self._kept: dict[tuple[str, str], Vector] = {}
        # without the interval a reader never sees another process's writes
        with usable(url):
            self._db: Any = lancedb.connect(url, read_consistency_interval=timedelta(0))

    # --- what it holds ----------------------------------------------------------------------------------------

    def config(self) -> IndexConfig | None:
        facts = self._facts()
        return IndexConfig(**json.loads(facts["extra"])) if facts else None

    @needs_store
    def generation(self) -> int:
        table = self._table()
        return int(table.version) if table is not None else 0

    def documents(self) -> dict[str, str]:
        return {row["path"]: row["digest"] for row in self._rows("kind = 'document'", ["path", "digest"])}

    def passages(self, ids: Sequence[str]) -> list[Passage]:
        found = {row["id"]: passage(row) for row in self._rows(f"kind = 'passage' and {among('id', ids)}", PLACE)}
        return [found[one] for one in ids]

    def file(self, path: str) -> list[Passage]:
        rows = self._rows(f"kind = 'passage' and {among('path', [path])}", [*PLACE, "row"])
        return [passage(row) for row in sorted(rows, key=lambda one: one["row"])]

    def contents(self) -> Iterator[tuple[Change, Vector | None]]:
        files = self._rows("kind = 'document'", HEAD)
        for file in sorted(files, key=lambda one: one["path"]):
            rows = self._rows(f"kind = 'passage' and document = {file['document']}", [*PLACE, "row", "vector"])
            rows.sort(key=lambda one: one["row"])
            change = Change(file["path"], file["digest"], tuple(map(passage, rows)), file["body"])
            yield change, np.array([row["vector"] for row in rows], np.float32) if rows and rows[0]["vector"] else None

    @needs_store
    def health(self) -> Health:
        view, table = self._seen(), self._table()
        heads, config = self._rows("kind = 'document'", ["path", "body"]), self.config()
        passages = table.count_rows("kind = 'passage'") if table is not None else 0
        dense = table.count_rows("kind = 'passage' and vector is not null") if config and config.embedder_digest else None
        refused = {row["path"]: row["body"] for row in sorted(heads, key=lambda row: row["path"]) if row["body"]}
        counts = (len(heads) - len(refused), passages, view.words.count(), dense)
        return Health(*counts, view.generation, refused, self._unindexed(table))

    # --- changing it ------------------------------------------------------------------------------------------

    def embedded(self, embedder: str, texts: Iterable[str]) -> set[str]:
        texts, config = list(texts), self.config()
        there = {text for text in texts if (embedder, text) in self._kept}
        if config and config.embedder_digest == embedder:
            there |= {row["digest"] for row in self._rows(f"kind = 'passage' and {among('digest', texts)}", ["digest"])}
        return there

    def keep_vectors(self, embedder: str, texts: Sequence[str], vectors: Vector) -> None:
        """Cached in memory until their passages are applied, to avoid a write to the object store per group of texts."""
        self._kept |= {(embedder, text): vector for text, vector in zip(texts, vectors, strict=True)}

    def apply(self, changes: Sequence[Change], config: IndexConfig) -> None:
        vectors = self._vectors(changes, config)
        rows: list[dict[str, Any]] = []
        for change in changes:
            document = secrets.randbits(NUMBER_BITS)
            rows += [head(change, document)] if change.digest else []
            rows += [row(one, document, document + i, vectors.get(text_digest(one))) for i, one in enumerate(change.passages)]
        width, paths = len(next(iter(vectors.values()))) if vectors else 1, [change.path for change in changes]
        while not self._commit(rows, width, paths, config):
            pass  # another process created or replaced the table first: now there is one to merge with

    @needs_store
    def _commit(self, rows: Sequence[dict[str, Any]], width: int, paths: Sequence[str], config: IndexConfig) -> bool:
        """Replace what these paths have by the rows, in one commit. False where another process created or replaced it first."""
        table, old = self._table(), self.config()
        facts = self._facts() or {"digest": uuid.uuid4().hex}
        rows = [*rows, {"id": FACTS, "kind": "facts", "path": "", "digest": facts["digest"], "extra": json.dumps(asdict(config))}]
        try:
            if table is None or old is None:
                self._replace(rows, width, 0, paths, "create")
            elif old.embedder_digest != config.embedder_digest:
                self._replace(rows, width, table.version, paths)
            elif width > _width(table):  # until now there was no passage
                others = self._rows(f"kind = 'document' and not {among('path', paths)}", HEAD)
                self._replace([*rows, *others], width, table.version, paths)
            else:
                merged(table, arrow(rows, _width(table)), paths)
        except _Preempted:
            return False
        return True

    def _replace(
        self, rows: Sequence[dict[str, Any]], width: int, version: int, paths: Sequence[str], mode: str = "overwrite"
    ) -> None:
        """Replace the table, last seen at `version`, and put back what other machines with this embedder wrote since.

        Lance lets an overwrite win over whatever was committed in between, and so does a second "create" at the same time, unless
        both commit one version: then one is _Preempted, with nothing written.
        """
        try:
            table = self._db.create_table(TABLE, arrow(rows, width), mode=mode, on_bad_vectors="null")
        except Exception as error:
            exists = mode == "create" and isinstance(error, ValueError) and self._table() is not None
            if exists or gave_way(error):
                raise _Preempted from error
            raise
        since = [one["version"] for one in table.list_versions() if one["version"] > version]
        if len(since) == 1:
            return
        made = self.config()
        missed: dict[str, list[dict[str, Any]]] = {}
        for one in since:
            before = self._table()
            before.checkout(one)
            found = before.search().limit(None).to_list()
            made_by = [json.loads(row["extra"])["embedder_digest"] for row in found if row["kind"] == "facts"]
            if made and made_by == [made.embedder_digest]:
                for path in {row["path"] for row in found} - {"", *paths}:
                    missed[path] = [row for row in found if row["path"] == path]
        there = self.documents()
        if any(row["path"] not in there for row in rows if row["kind"] == "document"):
            return  # overwritten meanwhile, by who puts it all back: if both did, it would be there twice
        lost = [row for path, of_path in missed.items() if path not in there for row in of_path]
        if lost:
            merged(table, arrow(lost, width), [])

    @needs_store
    def settle(self) -> None:
        from lancedb.index import IvfPq

        table = self._table()
        self._kept.clear()
        if table is not None:
            # an index created on an empty table never includes any row
            if table.count_rows("kind = 'passage'") >= self.approximate_from and not table.list_indices():
                table.create_index("vector", config=IvfPq(distance_type="dot"))
            table.optimize()
        self._seen()

    def _vectors(self, changes: Sequence[Change], config: IndexConfig) -> dict[str, Vector]:
        """Vectors of the changes' texts, from the cache or the table."""
        if not config.embedder_digest:
            return {}
        texts = {text_digest(one): one for change in changes for one in change.passages}
        out = {text: self._kept[key] for text in texts if (key := (config.embedder_digest, text)) in self._kept}
        missing = [text for text in texts if text not in out]
        old = self.config()
        if missing and old and old.embedder_digest == config.embedder_digest:
            found = self._rows(f"kind = 'passage' and {among('digest', missing)}", ["digest", "vector"])
            out |= {row["digest"]: np.array(row["vector"], np.float32) for row in found}
        lost = next((one for text, one in texts.items() if text not in out), None)
        assert lost is None, f"no vector is stored for {lost.where if lost else ''}"
        return out

    # --- the legs ---------------------------------------------------------------------------------------------

    def lexical(self, question: str, depth: int, allow: Allow) -> Found:
        found = dict(self._seen().words.search(question, depth, allow.clauses()))
        rows = self._rows(f"kind = 'passage' and {among('row', list(found))}", ["row", "id", "path"])
        return _best([(found[row["row"]], row) for row in rows], depth)

    @needs_store
    def dense(self, vector: Vector, depth: int, allow: Allow) -> Found:
        table, config = self._table(), self.config()
        if table is None or not config or not config.embedder_digest or _width(table) != len(vector):
            return []
        where = " and ".join(["kind = 'passage'", *map(tagged, allow.clauses())])
        query = table.search(vector, vector_column_name="vector").distance_type("dot").where(where, prefilter=True)
        query = query.refine_factor(REFINE).select(["id", "row", "path", "_distance"])
        most = depth + 1
        while len(hits := query.limit(most).to_list()) == most and hits[-1]["_distance"] == hits[depth - 1]["_distance"]:
            most *= 4  # include all ties with the last, so that the result does not depend on chance
        return _best([(1 - hit["_distance"], hit) for hit in hits], depth)

    @contextmanager
    def updating(self) -> Iterator[None]:
        lock = FileLock(self.derived / "updating.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise BusyError("another process is indexing into it.", where=self.url, remedy="Wait for it to end.") from None
        try:
            yield
        finally:
            lock.release()

    def close(self) -> None:
        self._view = None

    def _seen(self) -> View:
        """The current generation, with its lexical index updated first if necessary."""
        with self._lock:
            generation = self.generation()
            if self._view is None or self._view.generation != generation:
                with FileLock(self.derived / "lock"):
                    heads = sorted(self._rows("kind = 'document'", ["document", "path"]), key=lambda row: row["path"])
                    documents = [row["document"] for row in heads]
                    name = (self._facts() or {"digest": ""})["digest"]
                    lexical.catch_up(self.derived / "words", name, generation, documents, self._passages_of)
                    self._view = View(generation, lexical.load(self.derived / "words"))
            return self._view

    def _passages_of(self, documents: Sequence[int]) -> Iterator[tuple[int, int, Passage]]:
        rows = self._rows(f"kind = 'passage' and {among('document', documents)}", [*PLACE, "row", "document"])
        for one in sorted(rows, key=lambda one: (one["path"], one["row"])):
            yield one["row"], one["document"], passage(one)

    # --- Lance ------------------------------------------------------------------------------------------------

    def _table(self) -> Any:
        try:
            with usable(self.url):
                return self._db.open_table(TABLE)
        except ValueError as error:  # a folder of that name may be there before its first version is
            if "was not found" in str(error):
                return None
            raise

    def _facts(self) -> dict[str, Any] | None:
        return next(iter(self._rows("kind = 'facts'", ["digest", "extra"])), None)

    @needs_store
    def _rows(self, where: str, columns: list[str]) -> list[dict[str, Any]]:
        table = self._table()
        return [] if table is None else table.search().where(where).select(columns).limit(None).to_list()

    def _unindexed(self, table: Any) -> int:
        indices = [] if table is None else table.list_indices()
        return sum(table.index_stats(index.name).num_unindexed_rows for index in indices)


def _best(scored: Sequence[tuple[float, dict[str, Any]]], depth: int) -> Found:
    """Ids of the `depth` best; ties by path and then row, since row numbers alone depend on when a file was read."""
    ordered = sorted(scored, key=lambda one: (-one[0], one[1]["path"], one[1]["row"]))
    return [(row["id"], score) for score, row in ordered[:depth]]


def _width(table: Any) -> int:
    return int(table.schema.field("vector").type.list_size)
