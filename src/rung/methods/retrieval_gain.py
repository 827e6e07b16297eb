"""Whether a search that was tuned on train rows finds more than before, on rows of train that no part of it has seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rung.data.split import question
from rung.methods import tuning
from rung.methods.base import Run
from rung.methods.rag import Known
from rung.metrics.resample import paired_bootstrap
from rung.metrics.retrieval import ndcg
from rung.retrieve import lookup
from rung.retrieve.lookup import Lookup

HELD, CHOICE = 0.3, 0.2
"""Shares of the rows: to measure a gain on, and of the others to choose steps and settings by."""
CUT = 10
"""Passages that are ranked: nDCG@10."""


@dataclass(frozen=True)
class Parts:
    """Rows with known passages; those of one group or question are in one part."""

    learn: Known
    choose: Known
    """For the number of steps, the search settings and weights."""
    held: Known
    """To measure on."""

    @property
    def unseen(self) -> Known:
        """Those that nothing is trained on."""
        return [*self.choose, *self.held]

    @property
    def too_few(self) -> str:
        """Why nothing can be measured; empty if it can."""
        return "" if self.choose and self.held else "too few groups of rows to choose steps by some and to measure on others"


def parts(known: Known, seed: int) -> Parts:
    by_id = {row.id: (row, gold) for row, gold in known}
    rest, held = tuning.hold_back([row for row, _ in known], HELD, seed)
    learn, choose = tuning.hold_back(rest, CHOICE, seed + 1)
    return Parts(*([by_id[row.id] for row in part] for part in (learn, choose, held)))


def scores(found: Lookup, rows: Known, run: Run) -> list[float]:
    """nDCG@10 of each row."""
    asked = replace(found, settings=replace(found.settings, k=CUT))
    hits = lookup.sources(asked, [row.input for row, _ in rows], run.engines)
    return [ndcg([hit.passage.id for hit in one], gold) for one, (_, gold) in zip(hits, rows)]


def compared(before: Lookup, after: Lookup, given: Parts, run: Run) -> dict[str, Any]:
    """For the record: nDCG@10 on the held-back rows by two lookups, and whether the paired interval of the gain is above 0."""
    first, second = scores(before, given.held, run), scores(after, given.held, run)
    gain = paired_bootstrap(first, second, clusters(given.held))
    return {
        "kept": gain.low > 0,
        "before": round(_mean(first), 4),
        "after": round(_mean(second), 4),
        "gain": str(gain),
        "learnt_from": len(given.learn),
    } | ({} if gain.low > 0 else {"why": "no gain shown on the held-back rows"})


def clusters(rows: Known) -> list[int]:
    """A number for each row: rows of one group or question, or with a right passage in common, depend on each other."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    number: dict[tuple[str, str], int] = {}  # of each group, question and passage, after those of the rows
    edges = [
        (i, number.setdefault(name, len(rows) + len(number)))
        for i, (row, gold) in enumerate(rows)
        for name in (("group", row.group) if row.group else ("question", question(row)), *(("passage", one) for one in gold))
    ]
    size = len(rows) + len(number)
    graph = coo_array((np.ones(len(edges)), tuple(zip(*edges))), shape=(size, size))
    return connected_components(graph, directed=False)[1][: len(rows)].tolist()


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
