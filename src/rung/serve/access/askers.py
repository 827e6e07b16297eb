"""Who a request comes from, and what he may ask: the models of the tasks that his key is of, with its access labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rung.retrieve.store import Allow
from rung.serve.access import keys
from rung.serve.access.keys import FILE, Key
from rung.serve.answering.models import Served
from rung.serve.endpoints.refused import Refused
from rung.store import Store


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks: the key of each task that he holds one of."""

    keys: Mapping[Path, Key] = field(default_factory=dict)
    """By the task's folder."""
    anyone: bool = False
    """No key is required: every model may be asked, about open documents."""

    @property
    def name(self) -> str:
        """For logs."""
        return next((key.name for key in self.keys.values()), "")

    @property
    def admin(self) -> bool:
        return self.anyone or any(key.role == "admin" for key in self.keys.values())

    def key(self, served: Served) -> Key | None:
        """The key of the model's task that he holds."""
        return self.keys.get(served.project.task.folder)

    def may_ask(self, served: Served) -> bool:
        return self.anyone or served.project.task.folder in self.keys

    def allow(self, served: Served) -> Allow:
        """The passages of the model's task that he may see."""
        key = self.key(served)
        return Allow(frozenset(key.access if key else ()))


class Askers:
    """The keys of the tasks served, read again when they change."""

    def __init__(self, stores: Mapping[Path, Store], required: bool):
        """`stores`: the store of each task by its folder. `required`: whether one without a key may ask nothing."""
        self.stores, self.required = dict(stores), required
        self._read: dict[Path, tuple[tuple[int, int], tuple[Key, ...]]] = {}

    def of(self, authorization: str | None) -> Asker:
        """Who sends this header. Refused with 401 for a key that is none, and where none is given and one is required."""
        if not authorization:
            if self.required:
                raise Refused(401, "an API key is required: Authorization: Bearer rk-…", code="invalid_api_key")
            return Asker(anyone=True)
        scheme, _, secret = authorization.partition(" ")
        held = {}
        if scheme.lower() == "bearer":
            for folder in self.stores:
                if key := keys.find(self._keys(folder), secret.strip()):
                    held[folder] = key
        if held or (not self.required and not any(self._keys(folder) for folder in self.stores)):
            return Asker(held, anyone=not held)
        raise Refused(401, "this API key is not valid here.", code="invalid_api_key")

    def _keys(self, folder: Path) -> tuple[Key, ...]:
        store = self.stores[folder]
        try:
            stat = (store.folder / FILE).stat()
        except FileNotFoundError:
            return ()
        stamp = (stat.st_mtime_ns, stat.st_ino)  # a file that is written anew has another number
        if folder not in self._read or self._read[folder][0] != stamp:
            self._read[folder] = (stamp, keys.load(store))
        return self._read[folder][1]
