"""`bases: auto`: chosen once a task from the table of bases, and kept in `.rung`, so that every command sees the same ladder."""

from __future__ import annotations

from collections.abc import Callable

from rung.errors import TaskError
from rung.lm.models.resolve import to_be_had
from rung.machine import Machine
from rung.planning.advised_bases import MOST, advise, choose
from rung.store import Store
from rung.task import Task
from rung.types import Example

FILE = "bases.json"
"""In `.rung`; deleting it has the bases chosen again."""
SHOWN = 3


def resolved(
    task: Task,
    store: Store,
    rows: Callable[[], tuple[Example, ...]],
    machine: Callable[[], Machine],
    say: Callable[[str], object],
) -> Task:
    """The task with the bases that were chosen for it. TaskError where none that fits can be had.

    `rows`: of train. Both are asked only where nothing has been chosen for this task yet.
    """
    stored = store.read(FILE) or {}
    if stored.get("task") != task.digest:
        advised = advise(task, rows(), machine())
        found = choose(advised, lambda name: to_be_had(name, say))
        if not found.bases:
            why = "; ".join(f"{one.base.name}: {one.why_not or 'cannot be fetched'}" for one in advised if one.base.local)
            raise TaskError(f"none of the known bases can be had: {why}.", where="rung.yaml bases", remedy="Name one under base.")
        if len(found.bases) < MOST and found.missing:
            more = f" and {len(found.missing) - SHOWN} more" if len(found.missing) > SHOWN else ""
            say(f"No hub offers them now, but these fit and would be next: {', '.join(found.missing[:SHOWN])}{more}.")
        say(f"bases: auto takes {', '.join(found.bases)} (kept in .rung/{FILE}).")
        stored = {"task": task.digest, "bases": list(found.bases)}
        store.write(FILE, stored)
    bases = tuple(stored["bases"])
    return task.model_copy(update={"bases": bases, "base": bases[0]})
