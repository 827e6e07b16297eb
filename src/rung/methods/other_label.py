"""When a rung with an encoder answers `other`: below a confidence that is chosen by leaving labels of train out.

Rows of a label that a head was not trained on are what `other` is meant for, so train itself shows how sure a head is of them: a
baseline of the field (https://arxiv.org/abs/1610.02136).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rung import files
from rung.lm.inference.encoder import OtherLabel, log_odds
from rung.methods.base import Run
from rung.types import Example

if TYPE_CHECKING:
    from numpy.typing import NDArray

FOLDS = 5
"""Parts of the rows and groups of labels: each part is answered by a head on the other rows of the other labels."""
REMEMBERED = "work/other-confidences.json"
"""Of a fit in its folder."""
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


@dataclass(frozen=True)
class LeftOut:
    """Rows by number: a model is trained on some, of all labels but those left out, and asked others."""

    learn: NDArray[Any]
    known: NDArray[Any]
    """Asked, of labels that it learns from."""
    out: NDArray[Any]
    """Asked, of labels that it does not learn from."""


def choose_other(vectors: NDArray[Any], outputs: Sequence[str], other: str, fit: Fit, seed: int) -> Chosen | str:
    """The rule of `vectors` (rows, width) with their labels, or why there is none.

    Train rows labelled `other` count as rows of a left-out label.
    """
    import numpy as np

    known, out = [np.zeros(0)], [np.zeros(0)]
    for part in leave_out(outputs, other, seed):
        weight, bias = fit(vectors[part.learn], [outputs[i] for i in part.learn])
        known.append(log_odds(vectors[part.known] @ weight.T + bias))
        out.append(log_odds(vectors[part.out] @ weight.T + bias))
    return rule(np.concatenate(known), np.concatenate(out), other)


def rule(known: NDArray[Any], out: NDArray[Any], other: str) -> Chosen | str:
    """The rule by the log-odds of confidence in rows of known labels (rows,) and of left-out ones (others,), or why none.

    Logistic regression, both kinds of row weighted alike: how many inputs are `other` in use is unknown.
    """
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    if not len(known) or not len(out):
        return f"train has too few rows or fewer than {LEAST_LABELS} labels, so that none could be left out to choose a threshold"
    sure, left = np.concatenate([known, out]), np.arange(len(known) + len(out)) >= len(known)
    model = LogisticRegression(class_weight="balanced").fit(sure[:, None], left)
    found = OtherLabel(other, float(model.coef_[0, 0]), float(model.intercept_[0]))
    auc = float(roc_auc_score(left, -sure))
    if found.slope >= 0:
        return f"a head is no less sure of rows of left-out labels than of the others: area under the curve {auc:.3f}"
    said = found.chance(sure) >= 0.5
    return Chosen(found, auc, float(said[left].mean()), float(said[~left].mean()), len(left))


def choose_once(
    other: str, rows: Sequence[Example], confidences: Callable[[LeftOut], tuple[NDArray[Any], NDArray[Any]]], run: Run
) -> OtherLabel | None:
    """The rule of a rung whose training is dear: labels are left out once. It is noted, and remembered if the fit is killed.

    `confidences`: trains without the labels left out, and gives the log-odds of rows of known labels and of left-out ones.
    """
    import numpy as np

    remembered = run.folder / REMEMBERED
    if remembered.exists():
        known, out = map(np.array, json.loads(remembered.read_text(encoding="utf-8")))
    else:
        parts = leave_out([row.output for row in rows], other, run.seed)
        known, out = confidences(parts[0]) if parts else (np.zeros(0), np.zeros(0))
        remembered.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(remembered, json.dumps([known.tolist(), out.tolist()]))
    found = rule(known, out, other)
    run.notes["other"] = noted(found)
    return None if isinstance(found, str) else found.rule


def noted(found: Chosen | str) -> Any:
    """What the record says of it."""
    if isinstance(found, str):
        return f"never: {found}"
    return {name: round(getattr(found, name), 4) for name in ("auc", "found", "lost", "rows")}


def leave_out(outputs: Sequence[str], other: str, seed: int) -> list[LeftOut]:
    """FOLDS ways of leaving a group of labels out, and a part of the rows of the others; none with fewer than LEAST_LABELS."""
    import numpy as np

    given, rng = np.asarray(outputs), np.random.default_rng(seed)
    labels = rng.permutation(sorted(set(given.tolist()) - {other}))
    if len(labels) < LEAST_LABELS:
        return []
    count = min(FOLDS, len(labels))
    group = {label: k % count for k, label in enumerate(labels)} | {other: -1}
    groups = np.array([group[label] for label in given.tolist()])
    fold = np.zeros(len(given), dtype=int)
    for label in sorted(set(given.tolist())):  # a set has another order in each process
        rows = np.flatnonzero(given == label)
        fold[rng.permutation(rows)] = np.arange(len(rows)) % count
    found = []
    for k in range(count):
        known = (groups != k) & (groups >= 0)
        learn, out = known & (fold != k), (groups == k) | ((groups < 0) & (fold == k))
        asked = known & (fold == k) & np.isin(given, given[learn])
        if len(set(given[learn].tolist())) > 1:
            found.append(LeftOut(*map(np.flatnonzero, (learn, asked, out))))
    return found
