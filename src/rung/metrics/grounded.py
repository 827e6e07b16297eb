"""Retrieval, citation and abstention measures of answers with passages, row by row."""

from __future__ import annotations

from collections.abc import Sequence

from rung.metrics import retrieval
from rung.sources import split_sources
from rung.types import Example, Prediction

Rows = dict[str, list[tuple[int, float]]]
"""Measure → (row index, value) for the rows it applies to."""


def grounded(examples: Sequence[Example], predictions: Sequence[Prediction]) -> Rows:
    """Empty if nothing was retrieved. Rows without a source count only for coverage.

    recall, MRR, nDCG: passages from the row's sources among those shown to the model.
    citation precision: cited passages from the sources. citation recall: share of the sources that is cited.
    coverage: an answer was given. abstention precision: abstentions where the source was not found or the question is
    unanswerable. abstention recall: unanswerable rows where the model abstained.
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
        gold = split_sources(example.source)
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
