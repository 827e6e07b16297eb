"""In which type the fits of a task freeze weights on CPUs: chosen once for a store, so that their keys stay the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rung.errors import RungError
from rung.store import Store

if TYPE_CHECKING:
    from rung.machine import Machine
    from rung.task import Task

NAME = "precision.json"


def frozen_bf16(task: Task, store: Store, machine: Callable[[], Machine]) -> bool:
    """Whether a task's fits freeze weights in bfloat16: as the store has it, or else as measured to be faster here.

    Nothing is written. With `auto`, fits without a choice beside them were made in float32, by an earlier version of rung, and
    stay valid.
    """
    if task.precision == "float32":
        return False
    if found := _stored(store):
        return found == "bfloat16"
    return not (task.precision == "auto" and _is_older(store)) and machine().bf16_speedup > 1


def keep(task: Task, store: Store, bf16: bool, say: Callable[[str], object] = lambda text: None) -> None:
    """Store the choice before the first fit, for all later commands and machines: a fit of another precision has another key.

    RungError if another process has stored the other one meanwhile.
    """
    if task.precision == "float32":
        return
    if _stored(store):
        new = False
    else:
        store.change(NAME, lambda earlier: earlier or {"frozen": _name(bf16)})
        new = True
    found = _stored(store)
    if found != _name(bf16):
        raise RungError(
            f"this task's fits were to freeze weights in {_name(bf16)}, and another process has just stored {found}.",
            where=f"{store.folder}/{NAME}",
            remedy="Run the command again.",
        )
    if new and bf16:
        say(f"frozen weights of this task's fits are bfloat16, as measured to be faster here; {NAME} keeps that for all machines")
    if task.precision == "bfloat16" and not bf16:
        say(f"precision is bfloat16, but frozen weights are float32: it was not faster where {NAME} was stored")


def _is_older(store: Store) -> bool:
    """Whether it has fits, or records of some, from before precisions were stored."""
    if store.rows.read(NAME) is not None:  # a choice that is not accepted here, as its fits are not
        return False
    return bool(store.fit_keys()) or any(one.provenance.fits for one in store.records())


def _name(bf16: bool) -> str:
    return "bfloat16" if bf16 else "float32"


def _stored(store: Store) -> str:
    """What the store has; empty without a choice that is accepted here."""
    return store.read(NAME).get("frozen", "")
