"""Bringing all indexes of a task up to date with its documents."""

from __future__ import annotations

from rung.climbing.project import Project
from rung.retrieve import knowledge
from rung.retrieve.index import Changes, Progress


def reindex(project: Project, progress: Progress = lambda text, share: None) -> Changes:
    """Update the task's index and those that rungs built with other passage sizes; what the usual one's update did.

    BusyError while a climb or another indexing runs in the folder.
    """
    texts, home, engines = project.inputs.data.documents, project.store.folder, project.engines
    with project.store.locked():
        usual = knowledge.config_of(engines, project.start.encoder)
        changes = knowledge.bring_up_to_date(texts, knowledge.place(home), engines, usual, progress)
        for other in knowledge.others(home):  # rungs with other passage sizes must not answer from deleted or closed documents
            if how := knowledge.open_kept(other, engines).config():
                again = knowledge.config_of(engines, how.embedder, how.size, how.overlap)
                knowledge.bring_up_to_date(texts, other, engines, again, progress)
    return changes
