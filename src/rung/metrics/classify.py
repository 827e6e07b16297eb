"""Metrics for classification."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rung.metrics.resample import Corpus
from rung.metrics.stats import Array
from rung.types import Example


def accuracy(output: str, reference: str, example: Example) -> float:
    """1 if the label is right, ignoring surrounding whitespace."""
    return float(output.strip() == reference.strip())


def _label_columns(outputs: Sequence[str], references: Sequence[str]) -> Array:
    """Per row and label: whether it is a hit, and its count in answer and reference together."""
    labels = {label: i for i, label in enumerate(sorted({r.strip() for r in references}))}
    none, n = len(labels), len(references)
    truth = np.array([labels[r.strip()] for r in references])
    guess = np.array([labels.get(o.strip(), none) for o in outputs])  # unknown label: wrong, but not a class
    hit, both = np.zeros((n, none + 1)), np.zeros((n, none + 1))
    rows = np.arange(n)
    hit[rows, truth] = truth == guess
    both[rows, truth] += 1
    both[rows, guess] += 1
    return np.hstack([hit[:, :none], both[:, :none]])


def _mean_f1(totals: Array) -> Array:
    hit, both = np.split(totals, 2, axis=-1)
    f1 = np.divide(2 * hit, both, out=np.zeros_like(hit), where=both > 0)
    return np.asarray(f1.sum(axis=-1) / np.maximum(1, (both > 0).sum(axis=-1)))


macro_f1 = Corpus(_label_columns, _mean_f1)
"""Mean F1 over labels, so that rare labels count as much as common ones.

Labels are those of the references; any other answer is a miss. A label absent from a resample is ignored, as in
scikit-learn."""
