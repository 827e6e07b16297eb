"""Bases that a task may take: a dated table of facts with the source of each, from 0.1 to 72 billion parameters, and a few APIs.

Only facts that were read in a source stand in `base_table.json`; what was not found is left empty. Scores are the makers' or
third parties' figures on their own settings: they rank sizes roughly and say nothing of a team's task.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rung.machine import BYTES

FILE = Path(__file__).with_name("base_table.json")


@dataclass(frozen=True, slots=True)
class Score:
    """A published score of an instruction-tuned model, in percent."""

    benchmark: str
    value: float
    source: str


@dataclass(frozen=True, slots=True)
class KnownBase:
    """One line of the table; None where no source was found."""

    name: str
    """As `base` in rung.yaml."""
    parameters: int | None
    """None for a model behind an API."""
    context: int | None
    """Tokens."""
    languages: tuple[str, ...]
    """ISO 639-1 codes that the source names."""
    more_languages: bool
    """Whether the source says that there are others."""
    licence: str | None
    chat_template: bool | None
    source: str
    date: str
    """Year and month of the release."""
    scores: tuple[Score, ...]

    @property
    def local(self) -> bool:
        """Whether its weights are open."""
        return self.parameters is not None

    def weight_bytes(self, dtype: str) -> int:
        """Memory of its weights in a type of numbers; 0 behind an API."""
        return BYTES[dtype] * (self.parameters or 0)

    def knows(self, language: str) -> bool | None:
        """Whether it knows a language; None where the source does not say."""
        if not language or language in self.languages:
            return True if language else None
        return None if self.more_languages else False


@cache
def table() -> tuple[tuple[KnownBase, ...], str]:
    """All bases, by size with APIs last, and the day on which their sources were read."""
    content = json.loads(FILE.read_text(encoding="utf-8"))
    found = [
        KnownBase(**{**row, "languages": tuple(row["languages"]), "scores": tuple(Score(**one) for one in row["scores"])})
        for row in content["bases"]
    ]
    return tuple(sorted(found, key=lambda one: (not one.local, one.parameters or 0, one.name))), content["read"]
