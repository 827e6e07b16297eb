"""The head of `encoder` where a row has several labels: one logistic regression a label, its threshold chosen by cross-fitting.

Thresholds on out-of-fold scores, since F1 is not maximal at a probability of 0.5: https://arxiv.org/abs/1402.1892
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rung.methods.linear_head import FOLDS, ITERATIONS

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_ROWS = 10
"""Rows with a label, and rows without it, from which the label has a threshold of its own; others share one."""


@dataclass(frozen=True)
class LabelSetHead:
    """Scores of labels, and the score from which each is given."""

    weight: NDArray[Any]
    """(labels, width)."""
    bias: NDArray[Any]
    """(labels,)."""
    thresholds: NDArray[Any]
    """(labels,), in log-odds."""
    strength: float
    """C, the inverse regularisation strength that was chosen."""


def fit_label_set_head(
    vectors: NDArray[Any], outputs: Sequence[Sequence[str]], labels: Sequence[str], strengths: Sequence[float], seed: int
) -> LabelSetHead:
    """Fit the head on `vectors` (rows, width) and the labels of each row.

    The strength is the one with the best micro F1 of out-of-fold scores at one threshold for all labels. With fewer than two
    rows nothing can be held back: the middle strength and even odds are used.
    """
    import numpy as np

    wanted = np.array([[label in row for label in labels] for row in outputs], dtype=bool).reshape(len(outputs), len(labels))
    strength, thresholds = strengths[len(strengths) // 2], np.zeros(len(labels))
    if len(vectors) >= 2:
        held = {c: _out_of_fold(vectors, wanted, c, seed) for c in strengths}
        best = {c: _threshold(scores, wanted) for c, scores in held.items()}
        strength = max(best, key=lambda c: (best[c][1], -c))
        thresholds = np.array([_own(held[strength][:, k], wanted[:, k], best[strength][0]) for k in range(len(labels))])
    weight, bias = _regressions(vectors, wanted, strength)
    return LabelSetHead(weight, bias, thresholds, strength)


def _out_of_fold(vectors: NDArray[Any], wanted: NDArray[Any], strength: float, seed: int) -> NDArray[Any]:
    """Log-odds of each row and label by regressions that did not see the row; (rows, labels)."""
    import numpy as np
    from sklearn.model_selection import KFold

    scores = np.zeros(wanted.shape)
    for learn, held in KFold(min(FOLDS, len(vectors)), shuffle=True, random_state=seed).split(vectors):
        weight, bias = _regressions(vectors[learn], wanted[learn], strength)
        scores[held] = vectors[held] @ weight.T + bias
    return scores


def _regressions(vectors: NDArray[Any], wanted: NDArray[Any], strength: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """Weights (labels, width) and biases (labels,) of one regression a label; that of a label of no row or of all is constant."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    rows, labels = wanted.shape
    weight, bias = np.zeros((labels, vectors.shape[1])), np.zeros(labels)
    for k, column in enumerate(wanted.T):
        if column.all() or not column.any():
            bias[k] = np.log(2 * rows + 1) * (1 if column.all() else -1)  # Jeffreys' estimate of the odds
            continue
        model = LogisticRegression(C=strength, max_iter=ITERATIONS).fit(vectors, column)
        weight[k], bias[k] = model.coef_[0], model.intercept_[0]
    return weight, bias


def _threshold(scores: NDArray[Any], wanted: NDArray[Any]) -> tuple[float, float]:
    """The threshold with the best F1 over all entries, midway between two scores, and that F1."""
    import numpy as np

    order = np.argsort(-scores, axis=None, kind="stable")
    ranked, hits = scores.ravel()[order], np.cumsum(wanted.ravel()[order])
    f1 = 2 * hits / (np.arange(1, len(ranked) + 1) + max(1, int(wanted.sum())))
    f1[:-1][ranked[:-1] == ranked[1:]] = 0  # equal scores cannot be told apart
    at = int(f1.argmax())
    below = ranked[at + 1] if at + 1 < len(ranked) else ranked[at] - 1.0
    return float(ranked[at] + below) / 2, float(f1[at])


def _own(scores: NDArray[Any], wanted: NDArray[Any], shared: float) -> float:
    """A label's own threshold, or the shared one where too few rows speak for it."""
    if min(int(wanted.sum()), len(wanted) - int(wanted.sum())) < MIN_ROWS:
        return shared
    return _threshold(scores, wanted)[0]
