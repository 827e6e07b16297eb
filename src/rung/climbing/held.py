"""Held-out rows as the decision reads them: right answers, groups, and the joined rows of a rung that was proved."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

from rung.claims import evidence
from rung.claims.evidence import Rows
from rung.metrics import find, resample, with_unscored
from rung.types import Example, Interval, Record, Scores

References = Mapping[str, str] | Mapping[str, Example]
"""From a row's id to its right answer, or to the row with all its right answers."""


@dataclass(frozen=True, slots=True)
class Proof:
    """A rung's answers to the sealed rows."""

    test: Scores
    dev: Scores | None = None
    """All dev rows, for a raced rung that had answered only some of them."""


@dataclass(frozen=True, slots=True)
class HeldRows:
    """Right answers and groups of the held-out rows."""

    references: References | None
    groups: Mapping[str, str] | None

    def clusters(self, ids: Sequence[str]) -> list[Hashable] | None:
        """Each row's group, or the row itself if it has none; None if no row has a group."""
        if self.groups is None or not any(self.groups.get(i) for i in ids):
            return None
        return [self.groups.get(row) or i for i, row in enumerate(ids)]

    def truth(self, scores: Scores) -> list[str]:
        """The right answers, if the metric is recomputed from them."""
        if corpus_of(scores) is None:
            return []
        assert self.references is not None, f"{scores.metric} is recomputed from the outputs: pass references"
        metric = find(scores.metric)
        assert metric, "only a metric of the table has a corpus score"
        rows = [self.references[i] for i in scores.ids]
        return [
            row if isinstance(row, str) else metric.nearest_reference(output, row)
            for row, output in zip(rows, scores.outputs, strict=True)
        ]

    def evidence(self, scores: Scores) -> Rows:
        """The rows answered, as `rung.claims` reads them; those without a score count as wrong."""
        scores = only_answered(scores)
        return Rows(scores.per_row, corpus_of(scores), scores.outputs, self.truth(scores), self.clusters(scores.ids))

    def coverage(self, scores: Scores) -> Rows:
        """Of each row whether it was answered; one that failed for a reason outside the model was not."""
        failed = {row.id for row in scores.unscored}
        given = [float(done and row not in failed) for row, done in zip(scores.ids, scores.answered, strict=True)]
        return Rows(given, clusters=self.clusters(scores.ids))

    def bounds(self, scores: Scores, error: float) -> Interval:
        """Two one-sided bounds, each with this error. Rows without a score are wrong for the lower, right for the upper."""
        rows, scores = self.evidence(scores), only_answered(scores)

        def between(values: Sequence[float], outputs: Sequence[str]) -> Interval:
            return evidence.bounds(replace(rows, values=values, outputs=outputs), error)

        return with_unscored(between, scores, rows.references)

    def coverage_bounds(self, scores: Scores, error: float) -> Interval:
        """The share answered, between two one-sided bounds; the upper counts rows that failed as answered."""
        rows = self.coverage(scores)
        found = evidence.bounds(rows, error)
        return replace(found, high=evidence.bounds(replace(rows, values=[float(one) for one in scores.answered]), error).high)


def only_answered(scores: Scores) -> Scores:
    """The rows that were answered, for a goal with a coverage; else all. `overall` stays."""
    return rows_of(scores, [i for i, done in enumerate(scores.answered) if done]) if scores.answered else scores


def rows_of(scores: Scores, rows: Sequence[int]) -> Scores:
    """Some of the rows, in this order. `overall` stays, and of the unscored rows those that are among them."""
    ids = tuple(scores.ids[i] for i in rows)
    among = set(ids)
    return replace(
        scores,
        ids=ids,
        per_row=tuple(scores.per_row[i] for i in rows),
        outputs=tuple(scores.outputs[i] for i in rows) if scores.outputs else (),
        unscored=tuple(row for row in scores.unscored if row.id in among),
        answered=tuple(scores.answered[i] for i in rows) if scores.answered else (),
        confidences=tuple(scores.confidences[i] for i in rows) if scores.confidences else (),
    )


def joined(dev: Scores, proof: Proof | None) -> Scores:
    """The dev rows and the sealed rows of a proved rung as one; `overall` is that of dev."""
    if proof is None:
        return dev
    seen, test = proof.dev or dev, proof.test
    return replace(
        seen,
        ids=seen.ids + test.ids,
        per_row=seen.per_row + test.per_row,
        outputs=seen.outputs + test.outputs,
        unscored=seen.unscored + test.unscored,
        answered=seen.answered + test.answered,
        confidences=seen.confidences + test.confidences,
    )


def scores_of(record: Record) -> Scores:
    """The dev scores of a measured record."""
    assert record.scores is not None, f"{record.rung} has no scores"
    return record.scores


def corpus_of(scores: Scores) -> resample.Corpus | None:
    """How the score of the whole is computed, where it is not a mean over rows."""
    metric = find(scores.metric)
    return metric.corpus if metric else None
