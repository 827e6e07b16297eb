"""A program that answers as the rung does, asked beside it: every answer must be the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rung.export import scores
from rung.export.proof import signed
from rung.export.source import Source
from rung.types import Interval, Prediction, plain

if TYPE_CHECKING:
    from rung.lm.export.answering import Unzipped


@dataclass(frozen=True, slots=True)
class AnswersProof:
    """What came of asking both."""

    engine: str
    kind: str
    rows: int
    others: tuple[tuple[str, str, str], ...]
    """Rows with another answer: the row, the original's answer, the program's."""
    metric: str
    rung: Interval
    export: Interval
    difference: Interval
    """`export` less `rung`, paired."""

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong; empty where the program answers the same."""
        if not self.others:
            return ()
        row, ours, theirs = self.others[0]
        return (f"{len(self.others)} of {self.rows} answers differ: {theirs!r} instead of {ours!r} in row {row}",)

    @property
    def passed(self) -> bool:
        """Whether the program may be used in place of `rung ask`."""
        return not self.faults

    def compared(self) -> list[tuple[str, str]]:
        """What was compared, and the result."""
        return [("same answer", f"{self.rows - len(self.others)} of {self.rows}")]

    def scored(self) -> list[tuple[str, str]]:
        """The metric of both."""
        return [
            (f"{self.metric}: rung ask", str(self.rung)),
            ("the export", str(self.export)),
            ("export less rung ask, paired", signed(self.difference)),
        ]

    def report(self) -> dict[str, Any]:
        """What `proof.json` holds."""
        return {"passed": self.passed, "faults": list(self.faults), **plain(self)}


def prove(source: Source, kind: str, program: Unzipped, original: list[str]) -> AnswersProof:
    """Ask the program what rung was asked. `original`: rung's answers to the source's rows."""
    found = program.answers([row.input for row in source.rows])
    ours, theirs = ([Prediction(row.id, text) for row, text in zip(source.rows, texts)] for texts in (original, found))
    both = scores.both(source, ours, theirs)
    others = tuple((row.id, a, b) for row, a, b in zip(source.rows, original, found) if a != b)
    return AnswersProof(program.engine, kind, len(found), others, both.metric, both.first, both.second, both.difference)
