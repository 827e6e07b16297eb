"""API calls of a task among the texts of its store, so that all who share the store share answers and one budget."""

from __future__ import annotations

import json
import secrets
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any

from rung.lm.remote.calls import LEDGER, NOTHING, Calls, FileCalls, Spent
from rung.store.rows import Rows
from rung.store.store import Store

FOLDER = "api/"
TOTALS = f"{FOLDER}spent.json"
ANSWERS = f"{FOLDER}answers/"


def calls_of(store: Store) -> Calls:
    """Those of a database if the store is one, else those of the file in the `.rung` folder."""
    if store.address is None:
        return FileCalls(store.folder)
    shared, path = SharedCalls(store.rows), store.folder / LEDGER
    if path.is_file() and shared.spent() == NOTHING:
        store.say_once(
            f"{path}: its answers are not used and what was spent does not count, since this task is now in {store.address}."
            " `rung store copy` takes both along."
        )
    return shared


def has_calls(store: Store) -> bool:
    """Whether there are any; opening a folder's makes the file."""
    path = store.folder / LEDGER
    return store.address is not None or (path.is_file() and not path.is_symlink())


@dataclass(frozen=True)
class SharedCalls:
    """Each answer is a text; totals and reservations are one more."""

    rows: Rows

    @property
    def place(self) -> str:
        return self.rows.place(FOLDER)

    def alone(self) -> AbstractContextManager[object]:
        return self.rows.alone()

    def answer(self, key: str) -> str | None:
        return self.rows.read(f"{ANSWERS}{key}.json")

    def answers(self) -> dict[str, str]:
        keys = [name.removeprefix(ANSWERS).removesuffix(".json") for name in self.rows.names() if name.startswith(ANSWERS)]
        return {key: text for key in keys if (text := self.answer(key)) is not None}

    def keep(self, key: str, content: str) -> None:
        self.rows.write(f"{ANSWERS}{key}.json", content)

    def spent(self) -> Spent:
        found = self._read()
        pending = found["pending"].values()
        tokens, usd = sum(one for one, _ in pending), sum(one for _, one in pending)
        return Spent(**found["spent"]).with_unsure(len(pending), tokens, usd)

    def add(self, **amounts: float) -> None:
        found = self._read()
        spent = {name: value + amounts.get(name, 0) for name, value in found["spent"].items()}
        self._write(found | {"spent": spent})

    def reserve(self, tokens: int, usd: float | None) -> str:
        found, name = self._read(), secrets.token_hex(8)
        self._write(found | {"pending": found["pending"] | {name: [tokens, usd or 0.0]}})
        return name

    def end(self, name: str) -> None:
        found = self._read()
        self._write(found | {"pending": {key: value for key, value in found["pending"].items() if key != name}})

    def _read(self) -> dict[str, Any]:
        text = self.rows.read(TOTALS)
        return json.loads(text) if text else {"spent": asdict(NOTHING), "pending": {}}

    def _write(self, value: dict[str, Any]) -> None:
        self.rows.write(TOTALS, json.dumps(value))
