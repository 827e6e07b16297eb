"""The table of metrics, and scoring predictions with them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rung import label_sets
from rung.errors import TaskError
from rung.metrics import classify, extract, graded, own, parametric, resample, squad, stats, text, tool_calls
from rung.metrics.grounded import grounded
from rung.metrics.metric import Metric
from rung.plugins import Table
from rung.types import Example, Interval, Kind, Prediction, Scores, Split, Unscored

METRICS: dict[str, Metric] = {
    m.name: m
    for m in (
        Metric("accuracy", ("classify",), classify.accuracy, binary=True),
        Metric("macro_f1", ("classify",), classify.accuracy, classify.macro_f1),
        Metric("micro_f1", ("classify",), classify.row_f1, classify.micro_f1),
        Metric(
            "quadratic_kappa",
            ("classify", "answer"),
            graded.same_place(),
            graded.quadratic_kappa(),
            fault=graded.place_fault(),
            version=2,
        ),
        Metric("exact_match", ("answer", "extract"), extract.exact_match, binary=True, version=5, abstains=True),
        Metric("token_f1", ("answer", "generate"), text.token_f1, version=5, abstains=True),
        Metric("rouge_l", ("generate", "answer"), text.rouge_l, version=5, abstains=True),
        Metric("field_f1", ("extract",), extract.row_f1, extract.field_f1, version=5),
        Metric("tool_calls", ("extract",), tool_calls.same("tool_calls"), binary=True, fault=tool_calls.fault),
        Metric("tool_name", ("extract",), tool_calls.same("tool_name"), binary=True, fault=tool_calls.fault),
        Metric("tool_arguments", ("extract",), tool_calls.same("tool_arguments"), binary=True, fault=tool_calls.fault),
        Metric("squad_exact_match", ("answer", "generate"), squad.exact_match, binary=True, abstains=True),
        Metric("squad_f1", ("answer", "generate"), squad.token_f1, abstains=True),
        Metric("rouge_score_l", ("generate", "answer"), text.rouge_score_l, abstains=True),
    )
}


def _accept(name: str, given: Any) -> Metric:
    """A plug-in's metric."""
    if not isinstance(given, Metric):
        raise ValueError("a metric is a rung.metrics.Metric")
    if given.name != name:
        raise ValueError(f"it calls itself {given.name!r}")
    return given


TABLE = Table("rung.metrics", "metric", METRICS, _accept)
"""The metrics above, and those of installed packages."""

JUDGE = "judge"
"""Name of the LLM judge metric, which is created where models are available."""

SECONDARY_METRICS: dict[Kind, tuple[str, ...]] = {
    "classify": ("accuracy", "macro_f1"),
    "extract": ("field_f1", "exact_match"),
    "answer": ("exact_match", "token_f1"),
    "generate": ("rouge_l", "token_f1"),
}
"""Metrics that are always computed for a kind of task."""


def find(name: str, folder: Path | None = None) -> Metric | None:
    """A metric of the table, or one with an argument such as `within(5%)`; None for any other name.

    `folder`: of the task, for an argument that names a file. TaskError for a wrong argument.
    """
    return TABLE.get(name) or parametric.read(name, folder)


def content_digests(name: str, folder: Path) -> list[str]:
    """Digests of the files that a metric's scores depend on: the team's own code, or the database of its queries."""
    return [*own.content_digests(name, folder), *parametric.content_digests(name, folder)]


def rule(name: str) -> str:
    """By what rule a metric scores, for keys: its name, with the version where that has changed; a plug-in's with its package."""
    metric = find(name)
    return " ".join(filter(None, (metric.rule, TABLE.origin(name)))) if metric else name


def secondary_rules(kind: Kind) -> list[str]:
    """The rules, other than first versions, of what is scored for a kind whatever the goal's metric is."""
    return [METRICS[name].rule for name in SECONDARY_METRICS[kind] if METRICS[name].version > 1]


def get(name: str, folder: Path) -> Metric:
    """A metric of the table, or the team's own named `file.py:function` in the task folder. TaskError otherwise."""
    if metric := find(name, folder):
        return metric
    if ":" in name:
        return Metric(name, ("classify", "extract", "answer", "generate"), own.load(name, folder))
    raise TaskError(
        f"metric {name!r} is not one of {', '.join([*TABLE.names(), *parametric.FORMS, JUDGE])}.",
        where="rung.yaml goal.metric",
        remedy="Take one of these, or name your own as file.py:function.",
    )


def score(
    metric: Metric,
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    split: Split,
    *,
    clusters: Sequence[Hashable] | None = None,
    kind: Kind | None = None,
    answered: Sequence[bool] | None = None,
) -> Scores:
    """Score the predictions of one split, row by row and as a whole, with 95% intervals.

    A prediction with an error scores 0. If the error is outside the model (`Prediction.failed`), or the metric could not score
    the row, the row is listed in `unscored`, and intervals extend to the score with all such rows right. Rows of one
    `Example.group` form a cluster unless `clusters` is given. `kind` selects the secondary metrics, by default the metric's.
    `answered`: the rows that count, if some are left open; all others are scored for the record alone.
    """
    ids = tuple(e.id for e in examples)
    assert ids, "nothing to score: the split is empty"
    assert ids == tuple(p.id for p in predictions), "predictions must match the examples row by row"
    clusters = _groups(examples) if clusters is None else clusters
    outputs = tuple("" if p.error else p.output for p in predictions)
    failed = tuple(Unscored(p.id, p.error, p.again) for p in predictions if p.failed)

    def rows(m: Metric) -> tuple[float, ...]:
        return tuple(0.0 if p.error else m.rate(p.output, e) for e, p in zip(examples, predictions, strict=True))

    def scored(m: Metric) -> Scores:
        per_row, unscored = (rows(m), ()) if m.score_many is None else _together(m.score_many, examples, predictions)
        references = [
            m.nearest_reference(output, e) if m.corpus else e.output for output, e in zip(outputs, examples, strict=True)
        ]
        found = Scores(m.name, split, _UNKNOWN, ids, per_row, outputs, unscored=failed + unscored)

        def whole(values: Sequence[float], said: Sequence[str]) -> Interval:
            if answered is None:
                return interval(values, m.corpus, said, references, clusters)
            rows = [i for i, done in enumerate(answered) if done]
            due, of = [references[i] for i in rows], None if clusters is None else [clusters[i] for i in rows]
            return interval([values[i] for i in rows], m.corpus, [said[i] for i in rows], due, of) if rows else _UNKNOWN

        return replace(found, overall=with_unscored(whole, found, references))

    kind = kind or (metric.kinds[0] if find(metric.name) else None)
    beside = [METRICS[name] for name in _secondary(kind, examples) if name != metric.name] if kind else []
    others = {m.name: scored(m).overall for m in beside}
    for name, found in grounded(examples, predictions).items():
        of = [clusters[row] for row, _ in found] if clusters is not None else None
        others[name] = interval([value for _, value in found], clusters=of)
    result = replace(scored(metric), others=others)
    if answered is None:
        return result
    sure = tuple(None if p.confidence is None else round(p.confidence, 6) for p in predictions)
    share = interval([float(one) for one in answered], clusters=clusters)
    return replace(result, answered=tuple(answered), coverage=share, confidences=sure)


def _secondary(kind: Kind, examples: Sequence[Example]) -> tuple[str, ...]:
    """Names of the metrics beside the goal's; of rows with several labels also their micro F1, of tool calls their parts."""
    if kind == "extract" and all(tool_calls.is_calls(example.output) for example in examples):
        return tuple(tool_calls.PARTS)
    several = kind == "classify" and any(label_sets.parse(example.output) is not None for example in examples)
    return (*SECONDARY_METRICS[kind], *(("micro_f1",) if several else ()))


_UNKNOWN = Interval(0.0, 0.0, 1.0, 0)


def with_unscored(
    whole: Callable[[Sequence[float], Sequence[str]], Interval], scores: Scores, references: Sequence[str] = ()
) -> Interval:
    """The interval of a score, its upper end computed with all unscored rows perfect.

    `references`: right answers, if `whole` reads the outputs.
    """
    found = whole(scores.per_row, scores.outputs)
    if not scores.unscored:
        return found
    missing = {row.id for row in scores.unscored}
    best = [due if row in missing else said for row, said, due in zip(scores.ids, scores.outputs, references)]
    return replace(found, high=max(found.high, whole(scores.at_best, best).high))


def _together(
    many: Callable[[Sequence[str], Sequence[Example]], Sequence[float | Unscored]],
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
) -> tuple[tuple[float, ...], tuple[Unscored, ...]]:
    """Each row's score and the unscored rows; rows without score or answer get 0."""
    answered = [row for row, p in enumerate(predictions) if not p.error]
    found = many([predictions[row].output for row in answered], [examples[row] for row in answered])
    known = {row: value for row, value in zip(answered, found, strict=True) if not isinstance(value, Unscored)}
    unscored = tuple(value for value in found if isinstance(value, Unscored))
    return tuple(known.get(row, 0.0) for row in range(len(predictions))), unscored


def interval(
    per_row: Sequence[float],
    corpus: resample.Corpus | None = None,
    outputs: Sequence[str] = (),
    references: Sequence[str] = (),
    clusters: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
) -> Interval:
    """The overall score: Wilson interval for right/wrong rows, else bootstrap; by cluster if given."""
    if corpus is None and is_binary(per_row):
        n = float(len(per_row) if clusters is None else stats.effective_rows(per_row, clusters))
        found = stats.wilson(sum(per_row) / len(per_row) * n, n, confidence)
        return replace(found, n=len(per_row))
    values = per_row if corpus is None else corpus.columns(outputs, references)
    statistic = resample.mean if corpus is None else corpus.statistic
    return resample.bootstrap_interval(values, clusters, statistic, confidence=confidence, limits=(0.0, 1.0))


def is_binary(values: Sequence[float]) -> bool:
    """Whether all values are 0 or 1."""
    return all(v in (0.0, 1.0) for v in values)


def _groups(examples: Sequence[Example]) -> list[Hashable] | None:
    """Each row's cluster: its group, or its index; None if no row has a group."""
    if not any(e.group for e in examples):
        return None
    return [e.group or i for i, e in enumerate(examples)]


__all__ = [
    "JUDGE",
    "METRICS",
    "SECONDARY_METRICS",
    "TABLE",
    "Metric",
    "content_digests",
    "find",
    "get",
    "interval",
    "right_or_wrong",
    "rule",
    "rules_beside",
    "score",
    "up_to_best",
]
