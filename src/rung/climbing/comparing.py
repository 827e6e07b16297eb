"""Rungs against each other on the same rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rung.climbing.held import HeldRows, References, corpus_of, only_answered, rows_of, scores_of
from rung.decisions import Comparison
from rung.metrics import is_binary, resample, stats
from rung.types import Record, Scores


def compare(
    a: Record,
    b: Record,
    references: References | None = None,
    groups: Mapping[str, str] | None = None,
) -> Comparison:
    """Two measured rungs on the rows that both answered; the p-value is of this one comparison."""
    return _compare(a, b, HeldRows(references, groups))


def comparisons(a: Record, others: Sequence[Record], rows: HeldRows) -> tuple[Comparison, ...]:
    """One rung against each other one, with p-values adjusted together by Holm's method."""
    raw = [_compare(a, b, rows) for b in others]
    adjusted = stats.holm([c.p_value for c in raw])
    return tuple(replace(c, p_value=p) for c, p in zip(raw, adjusted, strict=True))


def _compare(first: Record, second: Record, rows: HeldRows) -> Comparison:
    """Two rungs on the rows that both answered: McNemar for right/wrong, resampling for the rest and for clusters.

    For graded metrics `only_a` counts the rows on which a scored higher.
    """
    a, b = _shared(scores_of(first), scores_of(second))
    only_a = sum(x > y for x, y in zip(a.per_row, b.per_row, strict=True))
    only_b = sum(x < y for x, y in zip(a.per_row, b.per_row, strict=True))
    corpus, clusters = corpus_of(a), rows.clusters(a.ids)
    if not a.ids or (corpus is None and clusters is None and is_binary(a.per_row + b.per_row)):
        difference = stats.paired_difference(only_a, only_b, len(a.ids))
        p_value = stats.mcnemar_mid_p(only_a, only_b)
    elif corpus is None:
        difference = resample.paired_bootstrap(a.per_row, b.per_row, clusters)
        p_value = resample.sign_flip(a.per_row, b.per_row, clusters)
    else:
        left, right = (corpus.columns(s.outputs, rows.truth(s)) for s in (a, b))
        difference = resample.paired_bootstrap(left, right, clusters, corpus.statistic)
        p_value = resample.sign_flip(left, right, clusters, corpus.statistic)
    return Comparison(first.rung, second.rung, difference, p_value, only_a, only_b)


def _shared(a: Scores, b: Scores) -> tuple[Scores, Scores]:
    """Both on the rows that both have answered and scored, in the order of `a`; `overall` is unchanged."""
    missing = {row.id for row in (*a.unscored, *b.unscored)}
    a, b = only_answered(a), only_answered(b)
    in_b = {row: i for i, row in enumerate(b.ids)}
    left = [i for i, row in enumerate(a.ids) if row in in_b and row not in missing]
    return rows_of(a, left), rows_of(b, [in_b[a.ids[i]] for i in left])
