"""Answers beside their passages: for each dev row what was retrieved, answered and right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rung.evaluate.injection import MAX_RATE
from rung.report.rows import right, shortened
from rung.types import Attack, Example, Prediction, Record, Source

MAX_ROWS = 200
"""Rows per rung on the page."""
PASSAGE_LETTERS = 600

Outcome = Literal["right", "partly right", "wrong", "no answer", "error"]
Passage = Literal["found", "not found", "not known"]
OUTCOMES: tuple[Outcome, ...] = ("right", "partly right", "wrong", "no answer", "error")
PASSAGES: tuple[Passage, ...] = ("found", "not found", "not known")


@dataclass(frozen=True, slots=True)
class Place:
    """One passage as the model saw it."""

    where: str
    text: str
    right: bool
    """Whether it is the row's source."""
    cited: bool
    left_out: tuple[str, ...] = ()
    """Sentences removed before the model saw it."""


@dataclass(frozen=True, slots=True)
class LookupRow:
    """One dev row with its passages."""

    where: str
    question: str
    right: str
    source: str
    """The row's source, if it names one."""
    answer: str
    why: str
    """Why there is no answer, or the error."""
    score: float
    outcome: Outcome
    passage: Passage
    """Whether the row's source was retrieved."""
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class RungLookups:
    """One rung's rows with passages."""

    rung: str
    rows: tuple[LookupRow, ...]
    """At most MAX_ROWS, in data order."""
    counts: Mapping[tuple[Outcome, Passage], int]
    """Over all its dev rows."""
    attack: Attack | None
    """None in records of older versions."""

    @property
    def asked(self) -> int:
        return sum(self.counts.values())

    @property
    def obeys(self) -> bool:
        """Whether planted instructions are obeyed too often; the page shows it in red."""
        return bool(self.attack and self.attack.rate and self.attack.rate.value > MAX_RATE)


def looked_up(
    records: Sequence[Record], predictions: Mapping[str, Mapping[str, Prediction]], examples: Sequence[Example]
) -> tuple[RungLookups, ...]:
    """Rungs with retrieved passages; `predictions` by rung and row. Only dev rows are shown."""
    known = {example.id: example for example in examples}
    out = []
    for record in records:
        answers = predictions.get(record.rung, {})
        assert record.scores is not None, f"{record.rung} has no scores"
        pairs = zip(record.scores.ids, record.scores.per_row, strict=True)
        rows = [_looked(known[i], answers[i], score) for i, score in pairs if i in known and i in answers]
        if any(row.places for row in rows):
            counts = Counter((row.outcome, row.passage) for row in rows)
            out.append(RungLookups(record.rung, tuple(rows[:MAX_ROWS]), counts, record.provenance.attack))
    return tuple(out)


def _looked(example: Example, prediction: Prediction, score: float) -> LookupRow:
    places = tuple(_place(source, example.source) for source in prediction.sources)
    turns = [f"{message.role}: {message.content}" for message in example.history]
    return LookupRow(
        example.where,
        shortened("\n".join([*turns, example.input])),
        shortened(right(example)),
        example.source,
        shortened(prediction.output),
        prediction.error or prediction.abstained,
        score,
        _outcome(prediction, score),
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


def _outcome(prediction: Prediction, score: float) -> Outcome:
    if prediction.error:
        return "error"
    if prediction.abstained:
        return "no answer"
    return "right" if score >= 1 else "partly right" if score > 0 else "wrong"
