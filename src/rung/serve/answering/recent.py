"""The last answers, remembered so that feedback can name one by its id; in memory alone, and bounded."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field

from rung.rows import Message
from rung.serve.answering.job import Outcome
from rung.serve.answering.models import Served

COUNT, CHARACTERS = 2000, 16_000_000
"""Most answers that are remembered, and most characters of all their texts."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One request that was answered."""

    id: str
    """As the client saw it: `chatcmpl-…`."""
    served: Served
    messages: tuple[Message, ...]
    outcomes: tuple[Outcome, ...]
    owner: str = ""
    """Digest of the key that asked; empty where none was needed."""
    key: str = ""
    """Name of that key."""
    access: tuple[str, ...] = ()
    """Access labels of that key."""
    user: str = ""
    """Who asked, in the client's own words."""
    at: float = field(default_factory=time.time)
    """Seconds since 1970."""

    @property
    def size(self) -> int:
        """Characters of its texts."""
        passages = (str(one.get("text", "")) for out in self.outcomes for one in out.about.get("citations") or ())
        texts = [turn.content + turn.extra for turn in self.messages] + [out.text for out in self.outcomes]
        return sum(map(len, texts)) + sum(map(len, passages))


class Recent:
    """Answers by id, the oldest forgotten first. May be used by several threads."""

    def __init__(self, count: int = COUNT, characters: int = CHARACTERS):
        self.count, self.characters = count, characters
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Answered] = OrderedDict()
        self._size = 0

    def add(self, one: Answered) -> None:
        """Remember an answer."""
        with self._lock:
            self._kept[one.id] = one
            self._size += one.size
            while self._kept and (len(self._kept) > self.count or self._size > self.characters):
                _, old = self._kept.popitem(last=False)
                self._size -= old.size

    def get(self, name: str) -> Answered | None:
        """The answer of this id; None for one that is unknown or forgotten."""
        with self._lock:
            return self._kept.get(name)
