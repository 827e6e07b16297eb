"""A backend that writes as rung's own engine does, or otherwise where a test wants it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any

from rung.errors import ModelError
from rung.lm.backends.base import Asked, End, Heard, Wanted
from rung.lm.backends.table import BackendKind
from rung.lm.base import Decoding
from rung.lm.inference.causal import CausalEngine
from rung.lm.models.load import load


@dataclass
class OwnAgain:
    """Writes with a CausalEngine of its own, one answer after the other."""

    engine: CausalEngine
    context: int = 1000
    numbers: str = "f16"
    name: str = "again 1"
    together: int = 1
    swap: int = 0
    """Added to the first token of each answer."""
    slow: float = 0.0
    """Seconds that each token takes."""
    fails: bool = False
    asked: list[Asked] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    """Pieces that were passed on."""
    lock: Any = field(default_factory=threading.Lock)

    def write(self, asked: Asked, heard: Heard) -> End:
        self.asked.append(asked)
        if self.fails:
            raise ModelError("it broke.")
        with self.lock:
            [[tokens]] = self.engine.samples([asked.ids], 1, asked.decoding)
        tokens = (tokens[0] + self.swap, *tokens[1:])
        stops, said = self.engine.chat.stops, ""
        for k, token in enumerate(tokens):
            time.sleep(self.slow)
            if token in stops:
                return End(True, k + 1)
            whole = self.engine.chat.decode(tokens[: k + 1])
            piece, said = whole[len(said) :], whole
            self.told.append(piece)
            if not heard(piece):
                return End(False, k + 1)
        return End(False, len(tokens))

    def greedy(self, ids: tuple[int, ...], most: int) -> tuple[tuple[int, ...], bool]:
        [[tokens]] = self.engine.samples([ids], 1, Decoding(max_new_tokens=most))
        bare = tuple(token for token in tokens if token not in self.engine.chat.stops)
        return ((bare[0] + self.swap, *bare[1:]) if bare else bare), len(bare) < len(tokens)


def kind(name: str = "again", missing: str = "", **how: object) -> BackendKind:
    """A row of the table that opens such backends."""

    def opened(wanted: Wanted) -> OwnAgain:
        loaded = load(wanted.found.folder, wanted.machine, wanted.ref.files)
        return OwnAgain(CausalEngine(loaded), **how)  # type: ignore[arg-type]

    return BackendKind(name=name, open=opened, missing=lambda: missing, version=lambda: "1", device="cpu")
