"""In which type the fits of a task freeze weights on CPUs: chosen once, and stored, so that their keys stay the same."""

from __future__ import annotations

from collections.abc import Callable

from rung.machine import Machine
from rung.store import Store
from rung.task import Task

NAME = "precision.json"


def frozen_bf16(task: Task, store: Store, machine: Callable[[], Machine]) -> bool:
    """Whether a task's fits freeze weights in bfloat16.

    The first command that asks for anything but float32 measures its machine and stores the choice. It holds for all later
    commands and machines of the store: a fit of another precision has another key, and would not be found.
    """
    if task.precision == "float32":
        return False
    if not (found := store.read(NAME)):
        chosen = {"frozen": "bfloat16" if machine().bf16_speedup > 1 else "float32"}
        store.change(NAME, lambda earlier: earlier or chosen)
        found = store.read(NAME)
    return found["frozen"] == "bfloat16"
