"""What stands for the screen in tests of climbs and executors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rung.planning.steps import Step
from rung.types import Record


@dataclass
class Watcher:
    """A watcher of a climb that remembers what it was shown."""

    steps: Sequence[Step] = ()
    records: tuple[Record, ...] = ()
    said: list[tuple[str, str]] = field(default_factory=list)
    """Of each rung, in time: `began`, or a text of its progress."""

    def planned(self, steps: Sequence[Step]) -> None:
        self.steps = steps

    def began(self, rung: str) -> None:
        self.said.append((rung, "began"))

    def progress(self, rung: str, text: str, share: float) -> None:
        self.said.append((rung, text))

    def ended(self, record: Record) -> None:
        self.records += (record,)
