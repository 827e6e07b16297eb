"""Bringing all indexes of a task up to date with its documents."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace

from rung.climbing.executors import Open, Setting, local
from rung.climbing.executors.index_job import IndexJob, usual
from rung.climbing.project import Project
from rung.errors import RungError
from rung.retrieve import knowledge
from rung.retrieve.index import Changes, Progress, look

PARTS = 16
"""Jobs that the documents are divided into: some are larger than others, and each worker opens the encoder for each."""


def reindex(project: Project, progress: Progress = lambda text, share: None, on: Open = local) -> Changes:
    """Update the task's index and those that rungs built with other passage sizes; what the usual one's update did.

    `on`: where files are parsed and embedded; elsewhere only in LanceDB, which takes several writers. BusyError while a climb or
    another indexing runs in the folder.
    """
    texts, home, engines = project.inputs.data.documents, project.store.folder, project.engines
    with project.store.locked():
        place, how = knowledge.place(home), usual(project)
        if on is local:
            changes = knowledge.bring_up_to_date(texts, place, engines, how, progress)
        else:
            changes = _elsewhere(project, place, on, progress)
        for other in knowledge.others(home):  # rungs with other passage sizes must not answer from deleted or closed documents
            if built := knowledge.open_kept(other, engines).config():
                again = knowledge.config_of(engines, built.embedder, built.size, built.overlap)
                knowledge.bring_up_to_date(texts, other, engines, again, progress)
    return changes


def _elsewhere(project: Project, place: str, on: Open, progress: Progress) -> Changes:
    """Have parts added by workers, then do what is left here: deleted and renamed files, and what a worker failed at."""
    if not place.startswith("lance://"):
        raise RungError(
            "an index in SQLite has one writer, so the workers of a cluster cannot add to it.",
            where=place,
            remedy="Move it to a folder or an object store that all machines see (rung index --store lance://…), or index here.",
        )
    texts, engines, how = project.inputs.data.documents, project.engines, usual(project)
    store = knowledge.open_kept(place, engines)
    before = look(knowledge.folder_of(texts), store, how)
    embedded = 0
    setting = Setting(project, _Shown(progress), float("inf"), everything=True)
    with on(setting) as executor, closing(executor.run([IndexJob(part, PARTS) for part in range(PARTS)])) as records:
        for record in records:
            embedded += sum(note["embedded"] for note in record.provenance.notes or ())
            if record.status != "done":
                project.say(f"{record.rung} is indexed here: {record.reason}")
    left = knowledge.bring_up_to_date(texts, place, engines, how, progress)
    refused = {path: why for path, why in store.health().refused.items() if path in {*before.added, *before.changed}}
    return replace(
        left,
        added=tuple(path for path in before.added if path not in refused),
        changed=tuple(path for path in before.changed if path not in refused),
        refused=refused,
        unchanged=before.unchanged,
        embedded=left.embedded + embedded,
    )


@dataclass(frozen=True, slots=True)
class _Shown:
    """Progress of one job at a time, as that of an index."""

    show: Callable[[str, float], object]

    def began(self, rung: str) -> None: ...

    def progress(self, rung: str, text: str, share: float) -> None:
        self.show(f"{rung}: {text}" if text else rung, share)
