"""From which evidence on a question is put to the model, learnt on questions with their passages there and taken away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rung.metrics.resample import bootstrap_interval
from rung.metrics.stats import wilson
from rung.types import Interval

FEWEST = 2
"""Questions below which nothing is told of how the two kinds lie."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """One question's evidence, as the search that answers would see it."""

    there: float
    """As the documents are."""
    found: bool
    """One of its passages is among those found."""
    gone: float
    """With its passages withheld."""


@dataclass(frozen=True, slots=True)
class Threshold:
    least: float
    """Evidence below which no answer is tried; 0 where none is worth its cost."""
    gain: float
    """Share of questions treated better than by asking always: answered where a passage was found, refused where none was."""
    answered: Interval | None
    """Of the questions whose passage was found, those that reach `least`."""
    refused: Interval | None
    """Of the questions whose passages were withheld, those that do not."""
    auc: Interval | None
    """Chance that a question with its passage has more evidence than one without. None for too few questions."""


def threshold(weighed: Sequence[Weighed], unanswerable: float) -> Threshold:
    """The evidence that treats most questions right, where a share `unanswerable` of them has no answer in the documents.

    The two mistakes, refusing what could be answered and asking what cannot, count the same. Two guards keep chance from
    setting a threshold. The k-th smallest of n values has k / (n + 1) of all others below it, on average, so a threshold
    there is charged with that many refusals and not with the k - 1 seen. And asking always, being simplest, is left only
    for a gain above one standard error: Breiman et al. (1984), Classification and Regression Trees, section 3.4.3.
    """
    there, gone, found = (np.array([getattr(one, part) for one in weighed]) for part in ("there", "gone", "found"))
    if len(weighed) == 0 or found.sum() < FEWEST:
        return Threshold(0.0, 0.0, None, None, None)
    at = np.sort(there[found])
    ahead = (there < at[:, None]) * np.where(found, -1.0, 1.0)
    each = (1 - unanswerable) * ahead + unanswerable * (gone < at[:, None])  # (thresholds, questions)
    unseen = 1 - np.arange(1, len(at) + 1) / (len(at) + 1)  # what the k-th is charged above the k - 1 seen, in questions
    gains = each.mean(axis=1) - (1 - unanswerable) * unseen / len(weighed)
    best = int(gains.argmax())
    useful = gains[best] > each[best].std() / np.sqrt(len(weighed))
    least, gain = (float(at[best]), float(gains[best])) if useful else (0.0, 0.0)
    answered, refused = wilson(int((at >= least).sum()), len(at)), wilson(int((gone < least).sum()), len(gone))
    return Threshold(least, gain, answered, refused, auc(weighed))


def auc(weighed: Sequence[Weighed]) -> Interval:
    """Area under the ROC curve of `there` against `gone`, over questions whose passage was found, ties counted half.

    A question stands on both sides, so questions are drawn, not values: each carries its influence on the area, the sum of
    its two placements (Obuchowski 1997, Biometrics 53:567).
    """
    pairs = [one for one in weighed if one.found]
    there, gone = np.array([one.there for one in pairs]), np.array([one.gone for one in pairs])
    above = _share_below(gone, there)
    under = 1 - _share_below(there, gone)
    found = bootstrap_interval(above + under - above.mean(), limits=(0.0, 1.0))
    return Interval(found.value, max(0.0, found.low), min(1.0, found.high), found.n)


def _share_below(values: npt.NDArray[np.float64], of: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """For each of `of` the share of `values` below it, equal ones counted half."""
    ordered = np.sort(values)
    return (np.searchsorted(ordered, of) + np.searchsorted(ordered, of, side="right")) / 2 / len(values)
