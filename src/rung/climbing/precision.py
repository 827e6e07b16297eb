"""In which type the fits of a task freeze weights on CPUs: chosen once, and stored, so that their keys stay the same."""

from __future__ import annotations

from collections.abc import Callable

from rung.errors import RungError
from rung.machine import Machine
from rung.store import Store
from rung.task import Task

NAME = "precision.json"


def frozen_bf16(task: Task, store: Store, machine: Callable[[], Machine], say: Callable[[str], object]) -> bool:
    """Whether a task's fits freeze weights in bfloat16.

    The first command that asks for anything but float32 measures its machine and stores the choice. It holds for all later
    commands and machines of the store: a fit of another precision has another key, and would not be found. RungError if the
    choice was stored by someone whose signature is not accepted here.
    """
    if task.precision == "float32":
        return False
    if not (found := store.read(NAME)):
        if store.rows.read(NAME) is not None:
            raise RungError(
                "the precision of this task's fits was chosen by another user or machine.",
                where=f"{store.folder}/{NAME}",
                remedy="If you trust the folder, run: rung trust. Or say precision: float32 in rung.yaml.",
            )
        chosen = "bfloat16" if machine().bf16_speedup > 1 else "float32"
        say(f"frozen weights of this task's fits are {chosen}, as measured to be faster here; {NAME} keeps that for all machines")
        store.change(NAME, lambda earlier: earlier or {"frozen": chosen})
        found = store.read(NAME)
    return found["frozen"] == "bfloat16"
