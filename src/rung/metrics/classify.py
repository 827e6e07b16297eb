"""Metrics for classification: of one label a row, or of a list of several (`rung.label_sets`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rung import label_sets
from rung.metrics import resample
from rung.metrics.resample import Corpus
from rung.metrics.stats import Array
from rung.types import Example


def accuracy(output: str, reference: str, example: Example) -> float:
    """1 if the label is right, ignoring surrounding whitespace; of several labels, if all are given and no other."""
    return float(_labels(output) == _labels(reference))


def row_f1(output: str, reference: str, example: Example) -> float:
    """F1 of one row's labels; 1 if none is expected and none given."""
    said, due = _labels(output), _labels(reference)
    return 2 * len(said & due) / (len(said) + len(due)) if said or due else 1.0


def _labels(text: str) -> frozenset[str]:
    """The labels of a list, or the text as the only label."""
    found = label_sets.parse(text)
    return frozenset((text.strip(),) if found is None else found)


def _label_columns(outputs: Sequence[str], references: Sequence[str]) -> Array:
    """Per row and label: whether it is a hit, and its count in answer and reference together."""
    due = [_labels(reference) for reference in references]
    labels = {label: i for i, label in enumerate(sorted(frozenset().union(*due)))}
    hit, both = np.zeros((len(due), len(labels))), np.zeros((len(due), len(labels)))
    for row, (output, wanted) in enumerate(zip(outputs, due, strict=True)):
        said = _labels(output)
        for label in said | wanted:
            if label in labels:  # an unknown one is wrong, but not a class
                hit[row, labels[label]] = label in said and label in wanted
                both[row, labels[label]] = (label in said) + (label in wanted)
    return np.hstack([hit, both])


def _mean_f1(totals: Array) -> Array:
    hit, both = np.split(totals, 2, axis=-1)
    f1 = np.divide(2 * hit, both, out=np.zeros_like(hit), where=both > 0)
    return np.asarray(f1.sum(axis=-1) / np.maximum(1, (both > 0).sum(axis=-1)))


macro_f1 = Corpus(_label_columns, _mean_f1)
"""Mean F1 over labels, so that rare labels count as much as common ones.

Labels are those of the references; any other answer is a miss. A label absent from a resample is ignored, as in
scikit-learn."""


def _total_columns(outputs: Sequence[str], references: Sequence[str]) -> Array:
    """Per row: right labels, and labels in answer and reference together."""
    pairs = [(_labels(output), _labels(reference)) for output, reference in zip(outputs, references, strict=True)]
    return np.array([[len(said & due), len(said) + len(due)] for said, due in pairs], dtype=np.float64)


micro_f1 = Corpus(_total_columns, resample.f1)
"""F1 over the labels of all rows together, so that a common label counts more than a rare one; a failed answer has one label."""
