"""Which store a task has: as the command says, else the environment, else what was said in this folder before."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

from rung.store.address import of_environment, parse, task_name
from rung.store.rows import FolderRows
from rung.store.signed_rows import SignedRows
from rung.store.store import NAME, Store

POINTER = "store.json"
"""The signed file in the `.rung` folder that names another store."""


def opened(task_folder: Path, say: Callable[[str], object] = warnings.warn, given: str = "") -> Store:
    """The store of a task. `given`: an address, as --store has it; empty for that of the environment or of the last time.

    RungError if it is none; StoreError if its database cannot be used.
    """
    here = SignedRows(FolderRows(task_folder / NAME), say)
    text = given or of_environment() or here.read(POINTER).get("address", "")
    return Store(task_folder, say, parse(text, task_name(task_folder)) if text else None)


def remember(store: Store) -> None:
    """Have later commands in this folder use the same store. A password is not written down."""
    here = SignedRows(FolderRows(store.folder))
    if store.address is None:
        here.rows.remove(POINTER)
    elif here.read(POINTER).get("address") != str(store.address):
        here.write(POINTER, {"address": str(store.address)})
