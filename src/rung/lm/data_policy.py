"""What may be sent where: the one gate for all that asks a model with the team's rows (base, teacher, judge, `rung ask`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rung.errors import ModelError, TaskError
from rung.lm.engine_kinds import leaves
from rung.task import Task


def require_data_policy(task: Task, name: str, what: str, where: str) -> None:
    """TaskError where what is asked of this model would leave the house, and may not. `where`: what names it."""
    with named(where):
        outside = leaves(name)
    if outside and task.needs.data_may_leave == "no":
        raise TaskError(
            f"{what} {name!r}, and needs.data_may_leave is no.",
            where=where,
            remedy="Name a model on this machine or in your own network, or say that the data may leave.",
        )


@contextmanager
def named(where: str) -> Iterator[None]:
    """What is wrong with a model, told by where rung.yaml names it: an endpoint knows of bases alone."""
    try:
        yield
    except ModelError as error:
        raise ModelError(error.what, where=where, remedy=error.remedy) from error
