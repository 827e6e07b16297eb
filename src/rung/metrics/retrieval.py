"""Retrieval measures: recall@k, reciprocal rank and nDCG@k, per question and with intervals.

Gold is a set of names; a ranking is the names found, best first. Questions without gold have no score: leave them out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence

from rung.metrics import resample
from rung.types import Interval

Ranking = Sequence[str]


def recall(found: Ranking, gold: Collection[str], k: int = 5) -> float:
    """Share of the gold among the first k."""
    return len(set(found[:k]) & set(gold)) / len(gold)


def reciprocal_rank(found: Ranking, gold: Collection[str], k: int = 10) -> float:
    """One over the rank of the first gold name, 0 if none is among the first k. Its mean is the MRR."""
    return next((1 / rank for rank, name in enumerate(found[:k], 1) if name in gold), 0.0)


def ndcg(found: Ranking, gold: Collection[str], k: int = 10) -> float:
    """Gain of the gold among the first k, discounted by log2(rank + 1), over that of the best ranking there could be.

    Järvelin and Kekäläinen (2002), ACM TOIS 20:422, with gains of 0 and 1.
    """
    gold, gain = set(gold), 0.0
    best = sum(1 / math.log2(rank + 1) for rank in range(1, min(k, len(gold)) + 1))
    for rank, name in enumerate(found[:k], 1):
        if name in gold:
            gain += 1 / math.log2(rank + 1)
            gold.discard(name)
    return gain / best


MEASURES: Mapping[str, Callable[[Ranking, Collection[str]], float]] = {
    "nDCG@10": ndcg,
    "recall@5": recall,
    "MRR@10": reciprocal_rank,
}


def scores(
    rankings: Sequence[Ranking], gold: Sequence[Collection[str]], clusters: Sequence[Hashable] | None = None
) -> dict[str, tuple[tuple[float, ...], Interval]]:
    """Each measure's value per question and their mean with its 95% interval; `clusters` are drawn whole."""
    out = {}
    for name, measure in MEASURES.items():
        rows = tuple(measure(found, right) for found, right in zip(rankings, gold, strict=True))
        out[name] = (rows, resample.bootstrap_interval(rows, clusters, limits=(0.0, 1.0)))
    return out
