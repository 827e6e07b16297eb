"""When the head of `encoder` answers `other`: below a confidence that is chosen by leaving labels of train out.

Rows of a label that a head was not trained on are what `other` is meant for, so train itself shows how sure a head is of them: a
baseline of the field (https://arxiv.org/abs/1610.02136).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rung.lm.inference.encoder import OtherLabel, log_odds

if TYPE_CHECKING:
    from numpy.typing import NDArray

FOLDS = 5
"""Parts of the rows and groups of labels: each part is answered by a head on the other rows of the other labels."""
LEAST_LABELS = 3
"""With fewer labels, leaving one out leaves nothing to tell apart."""

Fit = Callable[["NDArray[Any]", Sequence[str]], tuple["NDArray[Any]", "NDArray[Any]"]]
"""From vectors and their labels to weight (labels, width) and bias (labels,) of a head."""


@dataclass(frozen=True)
class Chosen:
    """The rule, and what it does on train rows by heads that saw neither the row nor, of left-out labels, the label."""

    rule: OtherLabel
    auc: float
    """Area under the curve: how well confidence tells rows of left-out labels from the others."""
    found: float
    """Share of the rows of left-out labels that are answered `other`."""
    lost: float
    """Share of the other rows that are answered `other`."""
    rows: int


def choose_other(vectors: NDArray[Any], outputs: Sequence[str], other: str, fit: Fit, seed: int) -> Chosen | str:
    """The rule of `vectors` (rows, width) with their labels, or why there is none.

    Logistic regression on the log-odds of the confidence, both kinds of row weighted alike: how many inputs are `other` in use is
    unknown. Train rows labelled `other` count as rows of a left-out label.
    """
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    given = np.asarray(outputs)
    if len(set(outputs) - {other}) < LEAST_LABELS:
        return f"fewer than {LEAST_LABELS} labels, so none can be left out to choose a threshold"
    sure, out = _left_out(vectors, given, other, fit, seed)
    if len(set(out.tolist())) < 2:
        return "no head of fewer labels could be tested on rows of left-out labels and of the others"
    model = LogisticRegression(class_weight="balanced").fit(sure[:, None], out)
    rule = OtherLabel(other, float(model.coef_[0, 0]), float(model.intercept_[0]))
    auc = float(roc_auc_score(out, -sure))
    if rule.slope >= 0:
        return f"a head is no less sure of rows of left-out labels than of the others: area under the curve {auc:.3f}"
    said = rule.chance(sure) >= 0.5
    return Chosen(rule, auc, float(said[out].mean()), float(said[~out].mean()), len(out))


def _left_out(vectors: NDArray[Any], given: NDArray[Any], other: str, fit: Fit, seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Log-odds of confidence of each row and of which a label was left out; both (rows tested,)."""
    import numpy as np

    rng = np.random.default_rng(seed)
    labels = rng.permutation(sorted(set(given.tolist()) - {other}))
    count = min(FOLDS, len(labels))
    group = {label: k % count for k, label in enumerate(labels)} | {other: -1}
    groups = np.array([group[label] for label in given])
    fold = np.zeros(len(given), dtype=int)
    for label in set(given.tolist()):
        rows = np.flatnonzero(given == label)
        fold[rng.permutation(rows)] = np.arange(len(rows)) % count
    sure, out = [], []
    for k in range(count):
        known = (groups != k) & (groups >= 0)
        learn, left = known & (fold != k), (groups == k) | ((groups < 0) & (fold == k))
        if len(set(given[learn].tolist())) < 2:
            continue
        tested = left | (known & (fold == k) & np.isin(given, given[learn]))
        weight, bias = fit(vectors[learn], given[learn].tolist())
        sure.append(log_odds(vectors[tested] @ weight.T + bias))
        out.append(left[tested])
    return np.concatenate(sure), np.concatenate(out)
