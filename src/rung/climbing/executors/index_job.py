"""A part of a task's documents as a job: its files are parsed, embedded and committed to the index by the worker itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from rung.climbing import measuring
from rung.climbing.executors.order import Order, another
from rung.climbing.fit import Progress
from rung.climbing.project import Project
from rung.retrieve import knowledge
from rung.retrieve.store import IndexConfig
from rung.types import Provenance, Record, digest


@dataclass(frozen=True, slots=True)
class IndexJob:
    """One of `of` parts, for an index that takes several writers."""

    part: int
    of: int

    @property
    def blank(self) -> Record:
        return Record(rung=f"part {self.part + 1} of {self.of}", status="skipped")

    @property
    def asks_api(self) -> bool:
        return False

    def makes(self, project: Project) -> set[str]:
        return {f"index {self.part}"}

    def begin(self, project: Project, until: float) -> str:
        documents, where = project.inputs.data.documents, knowledge.place(project.store.folder)
        return digest([documents.digest, where, asdict(usual(project)), self.part, self.of])

    def until(self, until: float) -> float:
        return until

    def measured(self, project: Project, key: str, until: float, progress: Progress) -> tuple[Record, bool]:
        def work() -> tuple[Record, bool]:
            documents, where = project.inputs.data.documents, knowledge.place(project.store.folder)
            how = usual(project)
            embedded = knowledge.bring_part_up_to_date(documents, where, project.engines, how, progress, self.part, self.of)
            return replace(self.blank, status="done", provenance=Provenance(key=key, notes=({"embedded": embedded},))), False

        return measuring.guarded(self.blank, key, project.store.folder, work)

    def keep(self, project: Project, record: Record) -> None:
        """Nothing: the index has what was made."""

    def sent(self) -> dict[str, Any]:
        return {"index": asdict(self)}


def usual(project: Project) -> IndexConfig:
    """The configuration of the task's index."""
    return knowledge.config_of(project.engines, project.start.encoder)


def index_job_of(project: Project, order: Order) -> IndexJob:
    """The part that is asked for. RungError if this machine sees other documents, or another index."""
    assert order.index
    job = IndexJob(**order.index)
    if job.begin(project, float("inf")) != order.key:
        raise another(order)
    return job
