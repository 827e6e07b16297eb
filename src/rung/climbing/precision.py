"""In which type the fits of a task freeze weights on CPUs: chosen once for a store, so that their keys stay the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rung.errors import RungError, TaskError
from rung.store import Store
from rung.task.base_names import AT
from rung.task.cascade_names import THEN

if TYPE_CHECKING:
    from rung.machine import Machine
    from rung.task import Task

NAME = "precision.json"


def frozen_bf16(task: Task, store: Store, machine: Callable[[], Machine]) -> bool:
    """Whether a task's fits freeze weights in bfloat16: as the store has it, or else as measured to be faster here.

    Nothing is written. With `auto`, fits of frozen weights without a choice beside them are float32, and stay valid.
    """
    if task.precision == "float32":
        return False
    if found := _stored(store):
        return found == "bfloat16"
    older = task.precision == "auto" and any(_froze(task, one.rung) for one in store.records() if one.provenance.fits)
    return not older and machine().bf16_speedup > 1


def keep(task: Task, store: Store, bf16: bool, say: Callable[[str], object]) -> None:
    """Store the choice for all later commands and machines: a fit of another precision has another key.

    One that is there and is not accepted is left as it is, for `rung trust`. RungError if another process has stored the other
    one meanwhile.
    """
    if task.precision == "float32":
        return
    if new := store.rows.read(NAME) is None:
        store.change(NAME, lambda earlier: earlier or {"frozen": _name(bf16)})
    if (found := _stored(store)) and found != _name(bf16):
        raise RungError(
            f"this task's fits were to freeze weights in {_name(bf16)}, and another process has just stored {found}.",
            where=f"{store.folder}/{NAME}",
            remedy="Run the command again.",
        )
    if task.precision == "bfloat16" and not bf16:
        say("precision is bfloat16, but frozen weights are float32: that was faster on the machine that chose")
    if new and bf16:
        say(f"frozen weights of this task's fits are bfloat16, as measured to be faster here; {NAME} keeps that for all machines")


def _froze(task: Task, rung: str) -> bool:
    """Whether a rung of the task freezes weights; not if its methods are unknown by now."""
    from rung import methods

    try:
        chains = [methods.rung(part.strip().partition(AT)[0], task.methods) for part in rung.split(THEN)]
    except TaskError:
        return False
    return any(method.freezes for chain in chains for method in chain)


def _name(bf16: bool) -> str:
    return "bfloat16" if bf16 else "float32"


def _stored(store: Store) -> str:
    """What the store has; empty without a choice that is accepted here."""
    return store.read(NAME).get("frozen", "")
