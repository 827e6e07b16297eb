"""A running server takes up what changes in its folders: the decision of a new climb, and, with --watch, documents.

A thread of its own looks every few seconds. New models are read beside the old ones, loaded by the engine thread between two
batches, and then replace the old ones all at once. Requests under way are answered by the model that they began with.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

from rung.climbing.project import Project
from rung.climbing.reindex import reindex
from rung.errors import BusyError, RungError
from rung.retrieve.parse import listing
from rung.serve.answering.job import Errand, Line
from rung.serve.answering.models import Served, Shelf
from rung.serve.endpoints.refused import Refused

log = logging.getLogger("rung.serve")

SECONDS = 2.0
"""Between two looks. What changed is taken up once it has been the same for one of them."""
LOADING = 600.0
"""Seconds that the engine thread has to load new models."""

DECISION = "decision.json"

Stamp = tuple[Any, ...]
Reopen = Callable[[Mapping[str, Served]], Mapping[str, Served]]
"""The models as the folders have them now, with the engines of these."""


class Watcher:
    """Looks at the folders of a server."""

    def __init__(self, shelf: Shelf, line: Line, reopen: Reopen, project_of: Callable[[Path], Project] | None = None):
        """`project_of`: opens a folder whose documents are to be indexed as they change; None leaves them alone."""
        self.shelf, self.line, self.reopen, self.project_of = shelf, line, reopen, project_of
        projects = {served.project.task.folder: served.project for served in shelf.models.values()}
        self.stores = [project.store for project in projects.values()]
        self.documents = {folder: found for folder, one in projects.items() if (found := one.task.data.documents)}
        self._taken = self._decisions()
        self._indexed: dict[Path, Stamp] = {}
        self._seen: dict[Path, Stamp] = {}
        self._said = ""
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)

    def start(self) -> None:
        """Look from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; an index that is being updated stays whole."""
        self._end.set()

    def _run(self) -> None:
        while not self._end.wait(SECONDS):
            self.look()

    def look(self) -> None:
        """Take up what has changed. What cannot be read is logged, and the server goes on with what it has."""
        try:
            now = self._decisions()
            if now != self._taken and self._settled(now):
                self._taken = now
                self._reload()
            if self.project_of:
                for folder, patterns in self.documents.items():
                    self._look_at_documents(folder, patterns)
        except BusyError:
            return  # a climb or another indexing runs in the folder: the next look tries again
        except (RungError, OSError, Refused) as error:
            if str(error) != self._said:  # once, not at every look
                log.error("what changed in the folders was not taken up: %s", error)
            self._said = str(error)
        except Exception:
            log.exception("what changed in the folders was not taken up")

    def _decisions(self) -> dict[Path, Stamp]:
        return {store.folder: store.rows.stamp(DECISION) for store in self.stores}

    def _settled(self, now: Mapping[Path, Stamp]) -> bool:
        """Whether these are as they were at the last look."""
        before = {path: self._seen.get(path) for path in now}
        self._seen.update(now)
        return before == dict(now)

    def _reload(self) -> None:
        for store in self.stores:
            if store.rows.stamp(DECISION) and not store.read(DECISION):
                raise RungError("it cannot be believed or read.", where=store.rows.place(DECISION))
        models = self.reopen(self.shelf.models)
        done: list[Any] = []
        ready = threading.Event()

        def tell(found: Any) -> None:
            done.append(found)
            ready.set()

        errand = Errand(_warmed(models), tell, float("inf"))
        self.line.offer(errand)
        if not ready.wait(LOADING):
            self.line.withdraw(errand)
            raise RungError(f"new models were not loaded within {LOADING:.0f} seconds.")
        if isinstance(done[0], Refused):
            raise done[0]
        self.shelf.models = models
        log.info(json.dumps({"event": "reload", "models": {one.name: one.rung or "base" for one in models.values()}}))

    def _look_at_documents(self, folder: Path, patterns: tuple[str, ...]) -> None:
        now = {folder: tuple(_stamp(path) for path in listing(folder, patterns).files)}
        if folder not in self._indexed:
            self._indexed[folder] = ()  # at the start too: the index may be older than the documents
        if now[folder] == self._indexed[folder] or not self._settled(now):
            return
        assert self.project_of, "looked at only where documents are to be indexed"
        changes = reindex(self.project_of(folder))
        self._indexed[folder] = now[folder]
        log.info(
            json.dumps(
                {
                    "event": "index",
                    "task": folder.name,
                    "added": len(changes.added),
                    "changed": len(changes.changed),
                    "renamed": len(changes.renamed),
                    "deleted": len(changes.deleted),
                    "refused": len(changes.refused),
                }
            )
        )


def _warmed(models: Mapping[str, Served]) -> Generator[None, None, bool]:
    """Load what the tasks' own models need, one after the other."""
    for served in models.values():
        if served.predictor and served.name == served.project.task.folder.name:
            served.predictor.warm(served.engines)
            yield
    return True


def _stamp(path: Path) -> Stamp:
    """What changes when a file is written; empty for one that is not there."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return str(path), found.st_mtime_ns, found.st_size, found.st_ino
