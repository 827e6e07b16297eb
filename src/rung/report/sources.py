"""Answers beside what they were looked up in: for each dev row what was retrieved, what was answered, and what was right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rung.evaluate.injection import MOST
from rung.report.rows import right, shortened
from rung.types import Example, Prediction, Record, Source

MOST_ROWS = 200
"""Rows of a rung that a page holds."""
PASSAGE_LETTERS = 600

Outcome = Literal["right", "partly right", "wrong", "no answer", "error"]
Passage = Literal["found", "not found", "not known"]
OUTCOMES: tuple[Outcome, ...] = ("right", "partly right", "wrong", "no answer", "error")
PASSAGES: tuple[Passage, ...] = ("found", "not found", "not known")


@dataclass(frozen=True, slots=True)
class Place:
    """One passage put before the model; numbered as the model saw it."""

    where: str
    text: str
    right: bool
    """It is the row's own source."""
    cited: bool
    left_out: tuple[str, ...] = ()
    """What the model was not shown of it."""


@dataclass(frozen=True, slots=True)
class Looked:
    """One dev row."""

    where: str
    question: str
    right: str
    source: str
    """The place that holds the answer, where the row names one."""
    answer: str
    why: str
    """Why no answer was given, or what failed."""
    score: float
    outcome: Outcome
    passage: Passage
    """Whether the row's source was among those retrieved."""
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class LookedUp:
    """One rung."""

    rung: str
    rows: tuple[Looked, ...]
    """At most MOST_ROWS, in the order of the data."""
    counts: Mapping[tuple[Outcome, Passage], int]
    """Of all its dev rows."""
    attack: Mapping[str, Any]
    """As the record keeps it; empty in a record of an older rung."""

    @property
    def asked(self) -> int:
        return sum(self.counts.values())

    @property
    def obeys(self) -> bool:
        """Whether planted instructions are obeyed more often than asked for, which the page says in red."""
        rate = self.attack.get("rate")
        return rate is not None and rate["value"] > MOST


def looked_up(
    records: Sequence[Record], predictions: Mapping[str, Mapping[str, Prediction]], examples: Sequence[Example]
) -> tuple[LookedUp, ...]:
    """The rungs whose answers were looked up; `predictions` by rung and row. Only rows of dev are shown."""
    known = {example.id: example for example in examples}
    out = []
    for record in records:
        told = predictions.get(record.rung, {})
        assert record.scores is not None, f"{record.rung} has no scores"
        pairs = zip(record.scores.ids, record.scores.per_row, strict=True)
        rows = [_looked(known[i], told[i], score) for i, score in pairs if i in known and i in told]
        if any(row.places for row in rows):
            counts = Counter((row.outcome, row.passage) for row in rows)
            out.append(LookedUp(record.rung, tuple(rows[:MOST_ROWS]), counts, record.provenance.get("attack", {})))
    return tuple(out)


def _looked(example: Example, told: Prediction, score: float) -> Looked:
    places = tuple(_place(source, example.source) for source in told.sources)
    turns = [f"{message.role}: {message.content}" for message in example.history]
    return Looked(
        example.where,
        shortened("\n".join([*turns, example.input])),
        shortened(right(example)),
        example.source,
        shortened(told.output),
        told.error or told.abstained,
        score,
        _outcome(told, score),
        "not known" if not example.source else "found" if any(place.right for place in places) else "not found",
        places,
    )


def _place(source: Source, right: str) -> Place:
    return Place(
        source.where,
        shortened(source.text, PASSAGE_LETTERS),
        bool(right) and source.is_named(right),
        source.cited,
        tuple(map(shortened, source.left_out)),
    )


def _outcome(told: Prediction, score: float) -> Outcome:
    if told.error:
        return "error"
    if told.abstained:
        return "no answer"
    return "right" if score >= 1 else "partly right" if score > 0 else "wrong"
