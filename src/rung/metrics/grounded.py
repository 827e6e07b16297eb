"""How well answers stand on their passages: found, cited, and silent where they should be; row by row."""

from __future__ import annotations

from collections.abc import Sequence

from rung.metrics import retrieval
from rung.sources import each
from rung.types import Example, Prediction

Rows = dict[str, list[tuple[int, float]]]
"""Measure to (row number, value) of the rows that it speaks of."""


def grounded(examples: Sequence[Example], predictions: Sequence[Prediction]) -> Rows:
    """Empty where nothing was retrieved. Rows that name no source are left out of all but the coverage.

    recall, MRR, nDCG: of the passages put before the model, those of the row's sources.
    citation precision: of the passages cited, those of the sources. citation recall: share of the sources that is cited.
    coverage: an answer was given. abstention precision: of the rows without an answer, those whose source was not found or
    that cannot be answered. abstention recall: of the rows that cannot be answered, those without an answer.
    """
    out: Rows = {}

    def say(measure: str, row: int, value: float) -> None:
        out.setdefault(measure, []).append((row, float(value)))

    if not any(one.sources for one in predictions):
        return out
    for row, (example, one) in enumerate(zip(examples, predictions, strict=True)):
        say("coverage", row, not one.abstained and not one.error)
        if example.unanswerable:
            say("abstention recall", row, bool(one.abstained))
            if one.abstained:
                say("abstention precision", row, True)
            continue
        if not example.source:
            continue
        gold = each(example.source)
        names = [next((name for name in gold if source.is_named(name)), source.id) for source in one.sources]
        found = retrieval.recall(names, gold, len(names))
        say("retrieval recall", row, found)
        say("retrieval MRR", row, retrieval.reciprocal_rank(names, gold))
        say("retrieval nDCG@10", row, retrieval.ndcg(names, gold))
        cited = [name for name, source in zip(names, one.sources) if source.cited]
        if one.abstained:
            say("abstention precision", row, not found)
        elif cited:
            say("citation precision", row, sum(name in gold for name in cited) / len(cited))
        if not one.abstained and not one.error:
            say("citation recall", row, retrieval.recall(cited, gold, len(cited)))
    return out
