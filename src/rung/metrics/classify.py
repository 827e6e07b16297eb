"""Metrics for tasks that answer with one of a closed set of labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rung.metrics.resample import Corpus
from rung.metrics.stats import Array
from rung.types import Example


def accuracy(output: str, reference: str, example: Example) -> float:
    """1 where the label is the right one, letter for letter but for white space at the ends."""
    return float(output.strip() == reference.strip())


def _label_columns(outputs: Sequence[str], references: Sequence[str]) -> Array:
    """For each row and label: is it a hit, and how often does the label stand in answer and reference together."""
    labels = {label: i for i, label in enumerate(sorted({r.strip() for r in references}))}
    none, n = len(labels), len(references)
    truth = np.array([labels[r.strip()] for r in references])
    guess = np.array([labels.get(o.strip(), none) for o in outputs])  # no label at all: wrong, but no class of its own
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
"""Mean over the labels of their F1, so that a rare label counts as much as a common one.

The labels are those of the references; an answer that is none of them is a miss. In a resample a label that neither
answer nor reference holds is left out, as scikit-learn does."""
