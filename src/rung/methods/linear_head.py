"""The head that rungs with an encoder share: logistic regression on vectors, its settings chosen by cross-validation on train."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

FOLDS = 5
"""Folds of the cross-validation at most; each has a row of every label."""
ITERATIONS = 1000
"""Most steps of the solver."""


@dataclass(frozen=True)
class LabelTexts:
    """What the names and descriptions of labels say, as vectors."""

    labels: tuple[str, ...]
    vectors: NDArray[Any]
    """(labels, width)."""


@dataclass(frozen=True)
class LinearHead:
    """A softmax head."""

    weight: NDArray[Any]
    """(labels, width)."""
    bias: NDArray[Any]
    """(labels,)."""
    labels: tuple[str, ...]
    strength: float
    """C, the inverse regularisation strength that was chosen."""
    name_weight: float
    """How many examples a label's name counts for."""


def as_chosen(notes: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a method under which its head is fitted as these notes say one was; empty where they say nothing."""
    if "C" not in notes or "name_weight" not in notes:
        return {}
    return {"strengths": (float(notes["C"]),), "name_weights": (float(notes["name_weight"]),)}


def label_text(name: str, description: str = "") -> str:
    """A label in words: card_arrival becomes "card arrival", with its description behind it if it has one."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    words = " ".join(re.sub(r"[_\-./]+", " ", words).split()) or name
    return f"{words}: {description}" if description else words


def fit_head(
    vectors: NDArray[Any],
    outputs: Sequence[str],
    strengths: Sequence[float],
    name_weights: Sequence[float],
    texts: LabelTexts,
    seed: int,
) -> LinearHead:
    """Fit the head on `vectors` (rows, width) and their labels.

    The strength is chosen first, without names, then the weight of the names with it. Where a label has a single row nothing
    can be held back: the middle strength is used, and no names.
    """
    folds = min(FOLDS, min(Counter(outputs).values()))
    if len(strengths) == len(name_weights) == 1:
        return _head(vectors, outputs, strengths[0], name_weights[0], texts)
    if folds < 2:
        return _head(vectors, outputs, strengths[len(strengths) // 2], 0.0, texts)
    data = vectors, outputs, texts, folds, seed
    scores = {(c, 0.0): _accuracy(*data, c, 0.0) for c in strengths}
    best = max(scores, key=lambda one: (scores[one], -one[0]))[0]
    scores |= {(best, w): _accuracy(*data, best, w) for w in name_weights if (best, w) not in scores}
    allowed = {(best, w): scores[best, w] for w in name_weights}
    chosen = max(allowed, key=lambda one: (allowed[one], -one[1]))
    return _head(vectors, outputs, *chosen, texts)


def _accuracy(
    vectors: NDArray[Any], outputs: Sequence[str], texts: LabelTexts, folds: int, seed: int, strength: float, name_weight: float
) -> float:
    """Mean accuracy over the folds. Names belong to no fold: they are known before any row is."""
    import numpy as np
    from sklearn.model_selection import StratifiedKFold

    wanted = np.asarray(outputs)
    shares = []
    for learn, held in StratifiedKFold(folds, shuffle=True, random_state=seed).split(vectors, wanted):
        model = _regression(vectors[learn], wanted[learn], strength, name_weight, texts)
        shares.append(float((model.predict(vectors[held]) == wanted[held]).mean()))
    return float(np.mean(shares))


def _regression(vectors: NDArray[Any], outputs: Sequence[str], strength: float, name_weight: float, texts: LabelTexts) -> Any:
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=strength, max_iter=ITERATIONS)
    if not name_weight:
        return model.fit(vectors, outputs)
    seen = set(outputs)
    named = [i for i, label in enumerate(texts.labels) if label in seen]
    both = np.concatenate([vectors, texts.vectors[named]])
    weights = np.concatenate([np.ones(len(vectors)), np.full(len(named), name_weight)])
    return model.fit(both, [*outputs, *(texts.labels[i] for i in named)], sample_weight=weights)


def _head(vectors: NDArray[Any], outputs: Sequence[str], strength: float, name_weight: float, texts: LabelTexts) -> LinearHead:
    """The head on all rows. For two labels scikit-learn has a single row of weights, the score of the second."""
    import numpy as np

    model = _regression(vectors, outputs, strength, name_weight, texts)
    weight, bias = model.coef_, model.intercept_
    if len(model.classes_) == 2:
        weight, bias = np.concatenate([np.zeros_like(weight), weight]), np.concatenate([[0.0], bias])
    return LinearHead(weight, bias, tuple(map(str, model.classes_)), strength, name_weight)
