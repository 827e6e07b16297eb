"""The head that rungs with an encoder share: logistic regression on vectors, its settings chosen by cross-validation on train."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from numpy.typing import NDArray

FOLDS = 5
"""Folds of the cross-validation at most; each has a row of every label."""
UNEVEN = 2
"""How many times more rows than the rarest label the commonest must have for their weights to matter."""
ITERATIONS = 1000
"""Most steps of the solver."""


Balance = Literal["auto", "never", "always"]
"""Whether each label weighs as much as any other: chosen by cross-validation, or not, or yes."""


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
    balanced: bool = False
    """Whether each label weighs as much as any other, however many rows it has."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What is chosen, as in `LinearHead`."""

    strength: float
    name_weight: float
    balanced: bool


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
    balance: Balance = "never",
    by_label: bool = False,
) -> LinearHead:
    """Fit the head on `vectors` (rows, width) and their labels.

    The strength is chosen first, without names, then the weight of the names with it, then whether rare labels weigh as much as
    common ones: by accuracy, or with `by_label` by macro F1. Where a label has a single row nothing can be held back: the middle
    strength is used, and no names.
    """
    counts = Counter(outputs).values()
    folds, always = min(FOLDS, min(counts)), balance == "always"
    uneven = balance == "auto" and max(counts) >= UNEVEN * min(counts)
    if len(strengths) == len(name_weights) == 1 and not (uneven and folds > 1):
        return _head(vectors, outputs, Settings(strengths[0], name_weights[0], always), texts)
    if folds < 2:
        return _head(vectors, outputs, Settings(strengths[len(strengths) // 2], 0.0, always), texts)
    scores: dict[Settings, float] = {}

    def best(some: Sequence[Settings]) -> Settings:
        """The best in the cross-validation; of equal ones the first."""
        for one in some:
            if one not in scores:
                scores[one] = _held_out(vectors, outputs, texts, folds, seed, one, by_label)
        return max(some, key=lambda one: scores[one])

    found = best([Settings(c, 0.0, always) for c in sorted(strengths)])
    found = best([replace(found, name_weight=w) for w in sorted(name_weights)])
    return _head(vectors, outputs, best([found, replace(found, balanced=True)]) if uneven else found, texts)


def _held_out(
    vectors: NDArray[Any], outputs: Sequence[str], texts: LabelTexts, folds: int, seed: int, settings: Settings, by_label: bool
) -> float:
    """Mean accuracy over the folds, or macro F1 of all rows. Names belong to no fold: they are known before any row is."""
    import numpy as np
    from sklearn.metrics import f1_score
    from sklearn.model_selection import StratifiedKFold

    wanted = np.asarray(outputs)
    said, shares = wanted.copy(), []
    for learn, held in StratifiedKFold(folds, shuffle=True, random_state=seed).split(vectors, wanted):
        said[held] = _regression(vectors[learn], wanted[learn], settings, texts).predict(vectors[held])
        shares.append(float((said[held] == wanted[held]).mean()))
    return float(f1_score(wanted, said, average="macro")) if by_label else float(np.mean(shares))


def _regression(vectors: NDArray[Any], outputs: Sequence[str], settings: Settings, texts: LabelTexts) -> Any:
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    name_weight = settings.name_weight
    model = LogisticRegression(C=settings.strength, max_iter=ITERATIONS, class_weight="balanced" if settings.balanced else None)
    if not name_weight:
        return model.fit(vectors, outputs)
    seen = set(outputs)
    named = [i for i, label in enumerate(texts.labels) if label in seen]
    both = np.concatenate([vectors, texts.vectors[named]])
    weights = np.concatenate([np.ones(len(vectors)), np.full(len(named), name_weight)])
    return model.fit(both, [*outputs, *(texts.labels[i] for i in named)], sample_weight=weights)


def _head(vectors: NDArray[Any], outputs: Sequence[str], settings: Settings, texts: LabelTexts) -> LinearHead:
    """The head on all rows. For two labels scikit-learn has a single row of weights, the score of the second."""
    import numpy as np

    model = _regression(vectors, outputs, settings, texts)
    weight, bias = model.coef_, model.intercept_
    if len(model.classes_) == 2:
        weight, bias = np.concatenate([np.zeros_like(weight), weight]), np.concatenate([[0.0], bias])
    return LinearHead(weight, bias, tuple(map(str, model.classes_)), **asdict(settings))
