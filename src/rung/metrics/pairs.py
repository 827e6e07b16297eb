"""How well scores rank answer pairs, before and after training, with intervals."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from rung.metrics import interval, resample
from rung.types import Interval

Scored = Sequence[tuple[float, float]]
"""The scores of the better and of the worse answer, pair by pair."""


def ranked(pairs: Scored) -> list[float]:
    """1 for each pair whose better answer has the higher score, 0 where it has the lower, a half for a tie."""
    return [float(better > worse) + 0.5 * float(better == worse) for better, worse in pairs]


def accuracy(pairs: Scored, clusters: Sequence[Hashable]) -> Interval:
    """Share of pairs ranked correctly. `clusters`: their questions; pairs of one question are not independent."""
    return interval(ranked(pairs), clusters=clusters)


def change(before: Scored, after: Scored, clusters: Sequence[Hashable]) -> dict[str, Interval]:
    """Effect of training on the log-probabilities of answers.

    `accuracy_before`, `accuracy_after`, `accuracy_rise`: whether the model finds the better answer more likely, and
    the paired difference. `reward_accuracy`: whether the better answer gained more than the worse. `margin`: by how many nats.
    """
    gains = [(b - b0, w - w0) for (b0, w0), (b, w) in zip(before, after, strict=True)]
    margins = [better - worse for better, worse in gains]
    return {
        "accuracy_before": accuracy(before, clusters),
        "accuracy_after": accuracy(after, clusters),
        "accuracy_rise": resample.paired_bootstrap(ranked(before), ranked(after), clusters),
        "reward_accuracy": accuracy(gains, clusters),
        "margin": resample.bootstrap_interval(margins, clusters),
    }
