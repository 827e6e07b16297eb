"""Where a store's texts are: one protocol for a folder and for a database."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from filelock import FileLock

from rung import files


class Rows(Protocol):
    """Texts by name: `decision.json` is replaced as a whole, lines are added to `records.jsonl`."""

    def place(self, name: str) -> str:
        """Where a text is, for messages; never with a password."""

    def read(self, name: str) -> str | None:
        """A text; None if there is none."""

    def write(self, name: str, text: str) -> None:
        """Replace a text: another reader sees the old one or the new one."""

    def remove(self, name: str) -> None:
        """Remove a text, if there is one."""

    def lines(self, name: str) -> list[bytes]:
        """Each whole line that was added, in order, without its end."""

    def append(self, name: str, text: str) -> None:
        """Add whole lines: all of them or none."""

    def names(self) -> list[str]:
        """All names, sorted."""

    def stamp(self, name: str) -> tuple[object, ...]:
        """What changes when a text is replaced; empty if there is none."""

    def alone(self) -> AbstractContextManager[object]:
        """A block in which no other process is in such a block of the same store. Short: others wait."""

    def now(self) -> float:
        """Seconds by the clock that all who share the store go by."""


class FolderRows:
    """Texts as files of a folder. Its users go by the clocks of their machines."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._lock = FileLock(folder / "leases" / "lock")

    def place(self, name: str) -> str:
        return str(self.folder / name)

    def read(self, name: str) -> str | None:
        try:
            return (self.folder / name).read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None

    def write(self, name: str, text: str) -> None:
        files.write_text(self.folder / name, text)

    def remove(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)

    def lines(self, name: str) -> list[bytes]:
        return files.raw_lines(self.folder / name)

    def append(self, name: str, text: str) -> None:
        files.append(self.folder / name, text)

    def names(self) -> list[str]:
        found = (path for pattern in ("*.json*", "*/*.json*") for path in self.folder.glob(pattern))
        return sorted(path.relative_to(self.folder).as_posix() for path in found if path.is_file() and not path.is_symlink())

    def stamp(self, name: str) -> tuple[object, ...]:
        try:
            found = (self.folder / name).stat()
        except OSError:
            return ()
        return found.st_mtime_ns, found.st_size, found.st_ino

    @contextmanager
    def alone(self) -> Iterator[None]:
        (self.folder / "leases").mkdir(parents=True, exist_ok=True)
        with self._lock:
            yield

    def now(self) -> float:
        return time.time()
