"""The task's metric of the rung, of its model writing freely, and of the export, on the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rung import calls, metrics
from rung.climbing.decide import compare
from rung.export.proof import Scored
from rung.export.source import Source
from rung.lm.inference import thinking
from rung.types import Interval, Prediction, Record, Scores

if TYPE_CHECKING:
    from rung.lm.export.reader import Written


def scored(source: Source, original: Sequence[Written], export: Sequence[Written]) -> Scored | None:
    """The scores; None for a metric that asks a model, which would cost a call a row."""
    metric = source.project.scoring.metric()
    if metric.score_many is not None:
        return None
    known = source.project.store.predictions(source.predictor.digest)
    missing = [row for row in source.rows if row.id not in known or known[row.id].failed]
    known |= {one.id: one for one in source.predictor.predict(missing, source.project.engines)} if missing else {}
    asked = _scores(source, [known[row.id] for row in source.rows])
    freely, other = (_scores(source, _predictions(source, written)) for written in (original, export))
    whole = all(one.ended for one in original)
    return Scored(
        metric.name,
        asked.overall,
        freely.overall,
        other.overall,
        _difference(source, freely, other),
        _difference(source, asked, other) if whole else None,
    )


@dataclass(frozen=True, slots=True)
class Both:
    """The task's metric of two sets of answers to the source's rows, and the second less the first, paired."""

    metric: str
    first: Interval
    second: Interval
    difference: Interval


def both(source: Source, first: Sequence[Prediction], second: Sequence[Prediction]) -> Both:
    """The scores of two sets of predictions."""
    a, b = _scores(source, first), _scores(source, second)
    return Both(source.project.scoring.metric().name, a.overall, b.overall, _difference(source, a, b))


def answer(source: Source, text: str) -> str:
    """What counts of a text that was written freely: calls of tools in one form; of a reasoned answer, what follows its mark."""
    if source.predictor.decoding.calls:
        return calls.normalise_output(text)
    return text.rpartition(thinking.MARKER)[2].strip() if source.predictor.thinking else text


def _predictions(source: Source, written: Sequence[Written]) -> list[Prediction]:
    return [Prediction(row.id, answer(source, one.text)) for row, one in zip(source.rows, written)]


def _scores(source: Source, predictions: Sequence[Prediction]) -> Scores:
    return metrics.score(source.project.scoring.metric(), source.rows, predictions, "dev", kind=source.project.task.kind)


def _difference(source: Source, a: Scores, b: Scores) -> Interval:
    first, second = (Record(rung=name, status="done", scores=scores) for name, scores in (("a", a), ("b", b)))
    by_id = {row.id: row for row in source.rows}
    return compare(first, second, by_id, {row.id: row.group for row in source.rows}).difference
