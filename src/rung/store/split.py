"""A store in a database, but for what concerns one machine alone: unfinished fits, the climb under way, the keys of a server."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

from rung.store.rows import Rows

LOCAL = ("work/", "trackers/", "live.json", "keys.json", "index.json")
"""How the names of texts begin that concern one machine."""


@dataclass(frozen=True, slots=True)
class SplitRows:
    """Texts of two places, by their names. Leases and clock are those of the shared one."""

    local: Rows
    shared: Rows

    def _of(self, name: str) -> Rows:
        return self.local if name.startswith(LOCAL) else self.shared

    def place(self, name: str) -> str:
        return self._of(name).place(name)

    def read(self, name: str) -> str | None:
        return self._of(name).read(name)

    def write(self, name: str, text: str) -> None:
        self._of(name).write(name, text)

    def remove(self, name: str) -> None:
        self._of(name).remove(name)

    def lines(self, name: str) -> list[bytes]:
        return self._of(name).lines(name)

    def append(self, name: str, text: str) -> None:
        self._of(name).append(name, text)

    def names(self) -> list[str]:
        """Those of the shared place."""
        return self.shared.names()

    def stamp(self, name: str) -> tuple[object, ...]:
        return self._of(name).stamp(name)

    def alone(self) -> AbstractContextManager[object]:
        return self.shared.alone()

    def now(self) -> float:
        return self.shared.now()
