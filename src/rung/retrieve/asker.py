"""What someone who asks may see of a task's documents."""

from __future__ import annotations

from collections.abc import Sequence

from rung.errors import TaskError
from rung.retrieve.store import Allow
from rung.task import Task


def allowed(task: Task, access: Sequence[str], under: str = "", where: str = "--access") -> Allow:
    """What someone with these labels may see. TaskError for a label that no document has; `where` names what gave it."""
    known = sorted(filter(None, set(task.data.access.values())))
    if strange := [label for label in access if label not in known]:
        raise TaskError(
            f"no document carries the label {strange[0]!r}.",
            where=where,
            remedy=f"Labels are {', '.join(known)}." if known else "Labels are given under data.access in rung.yaml.",
        )
    return Allow(frozenset(access), under)
