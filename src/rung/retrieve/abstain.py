"""The evidence threshold for answering, fitted on questions with and without their passages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rung.metrics.resample import bootstrap_interval
from rung.metrics.stats import wilson
from rung.types import Interval

MIN_QUESTIONS = 2
"""Fewest questions for estimates."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """One question's evidence, from the search that would answer it."""

    there: float
    """With the documents as they are."""
    found: bool
    """Whether the search found one of its passages."""
    gone: float
    """With its passages removed."""


@dataclass(frozen=True, slots=True)
class Threshold:
    least: float
    """Evidence below which the model is not asked; 0 if no threshold helps."""
    gain: float
    """Gain over always asking, as a share of questions: answered if a passage was found, refused if not."""
    answered: Interval | None
    """Share of the questions whose passage was found that reach `least`."""
    refused: Interval | None
    """Share of the questions without their passages that do not."""
    auc: Interval | None
    """Probability that a question with its passage has more evidence than one without. None for too few questions."""


def threshold(weighed: Sequence[Weighed], unanswerable: float) -> Threshold:
    """The threshold that treats most questions correctly if a share `unanswerable` has no answer in the documents.

    The two mistakes, refusing an answerable question and asking an unanswerable one, count the same. Two rules prevent a
    threshold by chance. On average the k-th smallest of n values exceeds k / (n + 1) of new ones, so a threshold there is
    charged with that many refusals, not with the k - 1 observed. And always asking, the simplest rule, is given up only for
    a gain above one standard error: Breiman et al. (1984), Classification and Regression Trees, section 3.4.3.
    """
    there, gone, found = (np.array([getattr(one, part) for one in weighed]) for part in ("there", "gone", "found"))
    if len(weighed) == 0 or found.sum() < MIN_QUESTIONS:
        return Threshold(0.0, 0.0, None, None, None)
    at = np.sort(there[found])
    ahead = (there < at[:, None]) * np.where(found, -1.0, 1.0)
    each = (1 - unanswerable) * ahead + unanswerable * (gone < at[:, None])  # (thresholds, questions)
    unseen = 1 - np.arange(1, len(at) + 1) / (len(at) + 1)  # charged in addition to the k - 1 observed refusals, in questions
    gains = each.mean(axis=1) - (1 - unanswerable) * unseen / len(weighed)
    best = int(gains.argmax())
    useful = gains[best] > each[best].std() / np.sqrt(len(weighed))
    least, gain = (float(at[best]), float(gains[best])) if useful else (0.0, 0.0)
    answered, refused = wilson(int((at >= least).sum()), len(at)), wilson(int((gone < least).sum()), len(gone))
    return Threshold(least, gain, answered, refused, auc(weighed))


def auc(weighed: Sequence[Weighed]) -> Interval:
    """Area under the ROC curve of `there` against `gone`, over questions whose passage was found, ties counted half.

    A question is on both sides, so the bootstrap resamples questions, not values: each has an influence on the area, the sum
    of its two placements (Obuchowski 1997, Biometrics 53:567).
    """
    pairs = [one for one in weighed if one.found]
    there, gone = np.array([one.there for one in pairs]), np.array([one.gone for one in pairs])
    above = _share_below(gone, there)
    under = 1 - _share_below(there, gone)
    found = bootstrap_interval(above + under - above.mean(), limits=(0.0, 1.0))
    return Interval(found.value, max(0.0, found.low), min(1.0, found.high), found.n)


def _share_below(values: npt.NDArray[np.float64], of: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """For each of `of` the share of `values` below it; ties count half."""
    ordered = np.sort(values)
    return (np.searchsorted(ordered, of) + np.searchsorted(ordered, of, side="right")) / 2 / len(values)
