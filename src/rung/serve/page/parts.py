"""What the pages use of a server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rung.climbing.project import Project
from rung.serve.access.askers import Asker, Askers
from rung.serve.answering.models import Served
from rung.serve.endpoints.refused import Refused
from rung.serve.page.documents import Library
from rung.serve.page.session import Sessions


@dataclass(frozen=True, eq=False)
class Parts:
    """The models, who may ask them, and the documents behind them."""

    models_now: Callable[[], Mapping[str, Served]]
    """The models by name; a server may take up others while it runs."""
    sessions: Sessions
    library: Library
    stopping: threading.Event
    """Set when the server ends: streams end then."""

    @property
    def models(self) -> Mapping[str, Served]:
        return self.models_now()

    def tasks(self, asker: Asker) -> dict[str, Served]:
        """The first model of each task that he may ask, by the name of the task's folder."""
        found: dict[Path, Served] = {}
        for served in self.models.values():
            if asker.may_ask(served):
                found.setdefault(served.project.task.folder, served)
        return {folder.name: served for folder, served in found.items()}

    def task(self, asker: Asker, name: str) -> Served:
        """The first model of a task, by default of the first one. Refused with 404 for what he may not ask."""
        tasks = self.tasks(asker)
        if not tasks or (name and name not in tasks):
            raise Refused(404, f"there is no task {name!r}. Tasks: {', '.join(tasks) or 'none'}.")
        return tasks[name] if name else next(iter(tasks.values()))

    def of_task(self, project: Project) -> list[Served]:
        """All models of a task."""
        return [served for served in self.models.values() if served.project.task.folder == project.task.folder]


def parts(models: Callable[[], Mapping[str, Served]], askers: Askers, stopping: threading.Event) -> Parts:
    """What the pages of a server need, with sessions and a library of their own."""
    return Parts(models, Sessions(askers, tuple(askers.stores)), Library(), stopping)
