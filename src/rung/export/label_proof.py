"""An exported encoder asked beside the original: tokens first, then the labels, their probabilities and the task's metric."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rung.export import scores
from rung.export.difficult import DIFFICULT
from rung.export.limits import LABEL_LIMITS, LabelLimits
from rung.export.proof import signed
from rung.export.source import Source
from rung.lm.inference.encoder import OtherLabel, odds
from rung.types import Interval, Prediction, plain

if TYPE_CHECKING:
    from rung.lm.export.heads import Headed
    from rung.lm.export.label_reader import LabelReader

Progress = Callable[[str], object]
TIE = 1e-3
"""Two labels whose probabilities are closer than this are equally likely: either is the same answer."""


@dataclass(frozen=True, slots=True)
class Another:
    """A row that the export gives another label."""

    row: str
    label: str
    """The original's."""
    instead: str
    margin: float
    """By how much the original finds its own label more probable."""


@dataclass(frozen=True, slots=True)
class LabelProof:
    """What came of asking both."""

    engine: str
    kind: str
    limits: LabelLimits
    rows: int
    cut: int
    """Rows that the export cuts into the same tokens."""
    texts: int
    texts_same: int
    others: tuple[Another, ...]
    largest: float
    """Largest difference of a label's probability."""
    metric: str
    rung: Interval
    export: Interval
    difference: Interval
    """`export` less `rung`, paired."""

    @property
    def same(self) -> int:
        """Rows with the same label."""
        return self.rows - len(self.others)

    @property
    def faults(self) -> tuple[str, ...]:
        """What is over the limits; empty where the export passes."""
        found = []
        if self.cut < self.rows or self.texts_same < self.texts:
            found.append(
                f"the tokenizer cuts {self.rows - self.cut} of {self.rows} rows and {self.texts - self.texts_same} of "
                f"{self.texts} difficult texts into other tokens"
            )
        if self.largest > self.limits.probability:
            found.append(f"a probability differs by {self.largest:.2g}, more than {self.limits.probability:g}")
        apart = [one for one in self.others if one.margin > TIE]
        if self.rows - len(apart) < self.limits.agreement * self.rows:
            found.append(f"{len(apart)} of {self.rows} rows get another label")
        if self.difference.high < 0:
            found.append(f"its {self.metric} is lower than the original's: {signed(self.difference)}")
        return tuple(found)

    @property
    def passed(self) -> bool:
        """Whether the export may be used in place of the original."""
        return not self.faults

    def compared(self) -> list[tuple[str, str]]:
        """What was compared, and the result."""
        return [
            ("rows tokenized alike", f"{self.cut} of {self.rows}"),
            ("difficult texts tokenized alike", f"{self.texts_same} of {self.texts}"),
            ("same label", f"{self.same} of {self.rows}"),
            ("largest difference of a probability", f"{self.largest:.2g}, limit {self.limits.probability:g}"),
        ]

    def scored(self) -> list[tuple[str, str]]:
        """The metric of both."""
        return [
            (f"{self.metric}: rung ask", str(self.rung)),
            ("the export", str(self.export)),
            ("export less rung ask, paired", signed(self.difference)),
        ]

    def report(self) -> dict[str, Any]:
        """What `proof.json` holds."""
        return {"passed": self.passed, "faults": list(self.faults), "same_labels": self.same, **plain(self)}


def prove(source: Source, kind: str, original: Headed, reader: LabelReader, progress: Progress) -> LabelProof:
    """Ask the export what rung's engine answers, on the source's rows."""
    progress(f"asking original and export {len(source.rows)} rows")
    texts = [row.input for row in source.rows]
    engine: Any = source.project.engines.open(source.predictor.model)
    known = (*engine.labels, *([engine.other.label] if engine.other else []))
    own, said = odds(engine.scores(texts), engine.other), source.predictor.predict(source.rows, source.project.engines)
    theirs, places = reader.answers(texts)
    columns = [list(reader.labels).index(label) for label in known]
    answered = [
        Prediction(row.id, reader.labels[place], float(found[place])) for row, found, place in zip(source.rows, theirs, places)
    ]
    both = scores.both(source, said, answered)
    return LabelProof(
        engine=reader.engine,
        kind=kind,
        limits=LABEL_LIMITS[kind],
        rows=len(texts),
        cut=sum(original.cut(text) == reader.cut(text) for text in texts),
        texts=len(DIFFICULT),
        texts_same=sum(original.cut(text) == reader.cut(text) for text in DIFFICULT),
        others=tuple(_others(said, answered, own, known, engine.other)),
        largest=float(np.abs(own - theirs[:, columns]).max()),
        metric=both.metric,
        rung=both.first,
        export=both.second,
        difference=both.difference,
    )


def _others(
    said: Sequence[Prediction], answered: Sequence[Prediction], own: Any, known: Sequence[str], other: OtherLabel | None
) -> Iterator[Another]:
    """Rows with another label. `own`: the original's probabilities of the `known` labels, the one of `other` last."""
    for ours, theirs, found in zip(said, answered, own):
        if ours.output == theirs.output:
            continue
        if other and other.label in (ours.output, theirs.output):
            margin = abs(2 * found[-1] - 1)  # that label is answered from one half on
        else:
            margin = found[known.index(ours.output)] - found[known.index(theirs.output)]
        yield Another(ours.id, ours.output, theirs.output, float(margin))
