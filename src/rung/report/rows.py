"""Rows worth reading: those on which rungs disagree, and the chosen rung's confusions. Dev rows only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rung.types import Example, Scores

MAX_ROWS = 300
MAX_CHARS = 2000
MAX_CONFUSIONS = 15


@dataclass(frozen=True, slots=True)
class Row:
    """One disputed row; `scores` and `answers` by rung, with a score of None if a rung was not asked."""

    where: str
    input: str
    right: str
    scores: tuple[float | None, ...]
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Disputed:
    rungs: tuple[str, ...]
    graded: bool
    """Scores are fractional, not right/wrong."""
    wins: tuple[tuple[int, ...], ...]
    """`wins[a][b]`: number of rows on which a scored higher than b."""
    rows: tuple[Row, ...]
    """At most MAX_ROWS: first those on which the first two rungs differ, then the most disputed."""
    found: int
    """Number of disputed rows."""
    lost: int
    """Rows that were scored but are no longer in dev."""


def disputed(scored: Mapping[str, Scores], examples: Sequence[Example], first: tuple[str, str] | None) -> Disputed:
    """Rows on which rungs score differently; `first` names the two rungs to compare first."""
    rungs = tuple(scored)
    known = {example.id: example for example in examples}
    ids = next(iter(scored.values())).ids if scored else ()
    by_rung = [_by_id(scores) for scores in scored.values()]
    table = [(i, tuple(by_id.get(i, (None, ""))[0] for by_id in by_rung)) for i in ids]
    places = range(len(rungs))
    wins = tuple(tuple(sum(_over(values[a], values[b]) for _, values in table) for b in places) for a in places)
    split = [(i, values) for i, values in table if _disputes(values) and i in known]
    pair = tuple(rungs.index(rung) for rung in first) if first else ()
    split.sort(key=lambda row: (not _disputes([row[1][i] for i in pair]), -_disputes(row[1])))
    rows = tuple(_row(known[i], values, [by_id.get(i, (None, ""))[1] for by_id in by_rung]) for i, values in split[:MAX_ROWS])
    graded = any(value not in (0.0, 1.0, None) for _, values in table for value in values)
    return Disputed(rungs, graded, wins, rows, len(split), sum(i not in known for i in ids))


def side(found: Disputed, win: int, lose: int) -> tuple[Row, ...]:
    """The rows on which one rung scored higher than another."""
    return tuple(row for row in found.rows if _over(row.scores[win], row.scores[lose]))


def _by_id(scores: Scores) -> dict[str, tuple[float, str]]:
    outputs = scores.outputs or ("",) * len(scores.ids)
    return dict(zip(scores.ids, zip(scores.per_row, outputs, strict=True), strict=True))


def _over(a: float | None, b: float | None) -> bool:
    return a is not None and b is not None and a > b


def _disputes(values: Sequence[float | None]) -> int:
    """Number of rung pairs with different scores."""
    return sum(_over(a, b) for a in values for b in values)


def _row(example: Example, scores: tuple[float | None, ...], answers: Sequence[str]) -> Row:
    turns = [f"{message.role}: {message.content}" for message in example.history]
    return Row(
        example.where,
        shortened("\n".join([*turns, example.input])),
        shortened(right(example)),
        scores,
        tuple(map(shortened, answers)),
    )


def right(example: Example) -> str:
    """A row's right answers, joined."""
    return "\nor: ".join(example.accepted)


def shortened(text: str, letters: int = MAX_CHARS) -> str:
    """A text cut to `letters` characters, with the number of those left out."""
    left = len(text) - letters
    return text if left <= 0 else f"{text[:letters]} … ({left:,} more characters)"


@dataclass(frozen=True, slots=True)
class Confusion:
    right: str
    answered: str
    count: int
    of: int
    """Rows with this right answer."""


def confusions(scores: Scores, examples: Sequence[Example]) -> tuple[Confusion, ...]:
    """A rung's confusions, most frequent first: at most MAX_CONFUSIONS pairs."""
    known = {example.id: example.output for example in examples}
    asked = [(known[i].strip(), answer.strip()) for i, answer in zip(scores.ids, scores.outputs) if i in known]
    rows = Counter(right for right, _ in asked)
    wrong = Counter((right, answer) for right, answer in asked if right != answer)
    ordered = sorted(wrong.items(), key=lambda item: (-item[1], item[0]))
    return tuple(Confusion(right, answer, count, rows[right]) for (right, answer), count in ordered[:MAX_CONFUSIONS])
