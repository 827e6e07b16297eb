"""The store of one task."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from rung import files
from rung.errors import BusyError, RungError
from rung.store.address import Address
from rung.store.codec import adapter
from rung.store.fits import Fits
from rung.store.objects import Objects
from rung.store.rows import FolderRows, Rows
from rung.store.split import SplitRows
from rung.store.sql import SqlRows
from rung.types import Latency, Prediction, Record

NAME = ".rung"


@dataclass(frozen=True, slots=True)
class Mark:
    """A judge's reply."""

    id: str
    """Content of the question."""
    mark: str


class Store(Fits):
    """Reads and writes what one task has: in its `.rung` folder, or in a database that several drivers share."""

    def __init__(self, task_folder: Path, say: Callable[[str], object] = warnings.warn, address: Address | None = None):
        """`say`: receives each text that is not used, once, with the reason. `address`: of a database; None for the folder."""
        folder = task_folder / NAME
        rows: Rows = FolderRows(folder)
        if address:
            rows = SplitRows(rows, SqlRows(address))
        super().__init__(folder, rows, Objects(address.files) if address and address.files else None, say)
        self.address = address

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Work in the store, with other drivers where it is a database. BusyError if it is a folder that another works in."""
        if self.address is None:
            with self.locked():
                yield
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            inside(self.folder)
            yield

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder for one climb. BusyError at once if another process has it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        inside(self.folder)
        lock = FileLock(self.folder / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise BusyError(
                "another rung process is working in this task.",
                where=str(self.folder),
                remedy="Wait for it to end, or copy the task to another folder.",
            ) from None
        try:
            for name in ("", "fits", "predictions", "latency", "ability", "attack", "jobs", "tune", "work"):
                files.sweep(self.folder / name)
            yield
        finally:
            lock.release()

    # --- predictions ------------------------------------------------------------------------------------------

    def predictions(self, digest: str) -> dict[str, Prediction]:
        """Answers of a Predictor by row; the last one of a row counts."""
        return {one.id: one for one in self._lines(f"predictions/{digest}.jsonl", Prediction, lambda one: one.id, _id)}

    def keep_predictions(self, digest: str, predictions: Iterable[Prediction]) -> None:
        with self.under_lease(f"predictions/{digest}"):
            self._append(f"predictions/{digest}.jsonl", map(asdict, predictions))

    def marks(self, judge: str) -> dict[str, str]:
        """Replies of a local judge by the digest of the question."""
        return {one.id: one.mark for one in self._lines(f"marks/{judge}.jsonl", Mark, lambda one: one.id, _id)}

    def keep_marks(self, judge: str, marks: Mapping[str, str]) -> None:
        self._append(f"marks/{judge}.jsonl", ({"id": name, "mark": mark} for name, mark in marks.items()))

    def latency(self, digest: str) -> Latency | None:
        found = self.read(f"latency/{digest}.json")
        return adapter(Latency).validate_python(found) if found else None

    def keep_latency(self, digest: str, latency: Latency) -> None:
        self.write(f"latency/{digest}.json", asdict(latency))

    # --- records ----------------------------------------------------------------------------------------------

    def records(self) -> list[Record]:
        def key(row: dict[str, Any]) -> Any:
            return (row.get("provenance") or {}).get("key")

        return self._lines("records.jsonl", Record, lambda one: one.provenance.key, key)

    def keep_record(self, record: Record) -> None:
        with self.under_lease(f"rungs/{record.provenance.key}"):
            self._append("records.jsonl", [record.to_json()])


def _id(row: dict[str, Any]) -> Any:
    return row.get("id")


def inside(folder: Path) -> None:
    """RungError if a file or folder in a `.rung` folder is a link: writes would land somewhere else.

    The folder itself may be a link, to a disk with more space, if its target is a `.rung` folder or empty.
    """
    if folder.is_symlink() and not (folder / "lock").exists() and any(folder.iterdir()):
        raise RungError("it is a link to a folder that is not rung's.", where=str(folder), remedy="Delete the link.")
    for path in (*folder.iterdir(), *folder.glob("[!i]*/*")):
        if path.is_symlink():
            raise RungError("it is a link, and rung writes only inside this folder.", where=str(path), remedy="Delete it.")
