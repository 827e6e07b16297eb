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
TEMPERATURES = (-4.0, 4.0)
"""Bounds of the logarithm of a head's temperature."""


Balance = Literal["auto", "never", "always"]
"""Whether each label weighs as much as any other: chosen by cross-validation, or not, or yes."""


@dataclass(frozen=True)
class LabelTexts:
    """What the names and descriptions of labels say, as vectors."""

    labels: tuple[str, ...]
    vectors: NDArray[Any]
    """(labels, width)."""


NO_TEXTS = LabelTexts((), ())  # type: ignore[arg-type]


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
    temperature: float = 1.0
    """What `weight` and `bias` have been divided by, so that probabilities are calibrated."""
    held: float | None = None
    """Share right, or macro F1, of the rows that were held back to choose by; None where nothing was chosen."""

    def logits(self, vectors: NDArray[Any]) -> NDArray[Any]:
        """(rows, labels) of vectors (rows, width)."""
        return vectors @ self.weight.T + self.bias

    def cooled(self, temperature: float) -> LinearHead:
        """This head with its logits divided by a temperature."""
        return replace(
            self, weight=self.weight / temperature, bias=self.bias / temperature, temperature=self.temperature * temperature
        )

    @property
    def notes(self) -> dict[str, Any]:
        """What was chosen, for the record: `as_chosen` reads it."""
        chosen = {"C": self.strength, "name_weight": self.name_weight, "balanced": self.balanced}
        return chosen | {"head_temperature": self.temperature}


@dataclass(frozen=True, slots=True)
class Settings:
    """What is chosen, as in `LinearHead`."""

    strength: float
    name_weight: float
    balanced: bool


def as_chosen(notes: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a method under which its head is fitted as these notes say one was; empty where they say nothing."""
    if not {"C", "name_weight", "balanced", "head_temperature"} <= set(notes):
        return {}
    return {
        "strengths": (float(notes["C"]),),
        "name_weights": (float(notes["name_weight"]),),
        "balance": "always" if notes["balanced"] else "never",
        "head_temperature": float(notes["head_temperature"]),
    }


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
    *,
    temperature: float | None = None,
    held: Sequence[int] = (),
) -> LinearHead:
    """Fit the head on `vectors` (rows, width) and their labels.

    The strength is chosen first, without names, then the weight of the names with it, then whether rare labels weigh as much as
    common ones: by accuracy, or with `by_label` by macro F1. Where a label has a single row nothing can be held back: the middle
    strength is used, and no names. `temperature` divides the logits; None: that under which the rows that are held back are
    likeliest. `held`: the rows to hold back once, where the vectors are those of an encoder trained on the others; else folds.
    """
    counts, always = Counter(outputs).values(), balance == "always"
    uneven = balance == "auto" and max(counts) >= UNEVEN * min(counts)
    parts = _parts(outputs, held, seed)
    if not parts:
        one = len(strengths) == len(name_weights) == 1
        settings = Settings(strengths[len(strengths) // 2], name_weights[0] if one else 0.0, always)
        return _head(vectors, outputs, settings, texts).cooled(temperature or 1.0)
    tried: dict[Settings, HeldOut] = {}

    def best(some: Sequence[Settings]) -> Settings:
        """The best on held-back rows; of equal ones the first. A single one is not tried."""
        for one in some if len(some) > 1 else ():
            if one not in tried:
                tried[one] = held_out(vectors, outputs, texts, parts, one)
        return max(some, key=lambda one: tried[one].better(by_label, bool(len(held)))) if len(some) > 1 else some[0]

    found = best([Settings(c, 0.0, always) for c in sorted(strengths)])
    found = best([replace(found, name_weight=w) for w in sorted(name_weights)])
    found = best([found, replace(found, balanced=True)]) if uneven else found
    if temperature is None and found not in tried:
        tried[found] = held_out(vectors, outputs, texts, parts, found)
    head = _head(vectors, outputs, found, texts).cooled(temperature or tried[found].temperature())
    return replace(head, held=tried[found].score(by_label)) if found in tried else head


def log_likelihoods(vectors: NDArray[Any], outputs: Sequence[str], held: Sequence[int], strength: float) -> NDArray[Any]:
    """Of the labels of held-back rows by a head on the others, calibrated: in nats; (rows of labels that it knows,)."""
    return held_out(vectors, outputs, NO_TEXTS, _parts(outputs, held, 0), Settings(strength, 0.0, False)).log_likelihoods()


Part = tuple["NDArray[Any]", "NDArray[Any]"]
"""Numbers of rows to learn from, and of those held back."""


def _parts(outputs: Sequence[str], held: Sequence[int], seed: int) -> list[Part]:
    """What is held back from what: `held`, or folds with rows of every label; none where a label has a single row."""
    import numpy as np
    from sklearn.model_selection import StratifiedKFold

    if len(held):
        return [(np.setdiff1d(np.arange(len(outputs)), held), np.asarray(held))]
    folds = min(FOLDS, *Counter(outputs).values())
    if folds < 2:
        return []
    return list(StratifiedKFold(folds, shuffle=True, random_state=seed).split(np.zeros(len(outputs)), np.asarray(outputs)))


@dataclass(frozen=True)
class HeldOut:
    """Rows as heads answer them that did not see them."""

    logits: NDArray[Any]
    """(rows, labels)."""
    wanted: NDArray[Any]
    """Index of each row's label."""

    def score(self, by_label: bool) -> float:
        """Share right, or macro F1."""
        from sklearn.metrics import f1_score

        said = self.logits.argmax(axis=1)
        return float(f1_score(self.wanted, said, average="macro")) if by_label else float((said == self.wanted).mean())

    def better(self, by_label: bool, few: bool) -> float:
        """What settings are chosen by: with `few` rows their likelihood, since their share right ties, unless by macro F1."""
        return float(self.log_likelihoods().mean()) if few and not by_label else self.score(by_label)

    def log_likelihoods(self) -> NDArray[Any]:
        """Log-probability of each row's label in nats, calibrated; (rows,)."""
        import numpy as np

        logs = self.logits / self.temperature()
        logs -= np.logaddexp.reduce(logs, axis=1, keepdims=True)
        return logs[np.arange(len(logs)), self.wanted]

    def temperature(self) -> float:
        """What divides the logits so that the labels are likeliest (https://arxiv.org/abs/1706.04599).

        One row more than there are is shared by all labels: no head is certain.
        """
        import numpy as np
        from scipy.optimize import minimize_scalar

        rows = np.arange(len(self.wanted))
        centred = self.logits - self.logits.max(axis=1, keepdims=True)

        def loss(log: float) -> float:
            logs = centred / np.exp(log)
            logs -= np.logaddexp.reduce(logs, axis=1, keepdims=True)
            return -float(logs[rows, self.wanted].sum() + logs.mean())

        return float(np.exp(minimize_scalar(loss, bounds=TEMPERATURES, method="bounded").x))


def held_out(
    vectors: NDArray[Any], outputs: Sequence[str], texts: LabelTexts, parts: Sequence[Part], settings: Settings
) -> HeldOut:
    """The held-back rows of each part, but those of labels that it has no row of, by a head on its others.

    Names belong to no part: they are known before any row is.
    """
    import numpy as np

    given = np.asarray(outputs)
    labels = np.unique(given[parts[0][0]])  # folds all have the same
    found, due = [], []
    for learn, held in parts:
        tested = held[np.isin(given[held], labels)]
        head = _head(vectors[learn], given[learn].tolist(), settings, texts)
        found.append(head.logits(vectors[tested]))
        due.append(np.searchsorted(labels, given[tested]))
    return HeldOut(np.concatenate(found), np.concatenate(due))


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
