"""Verdict of a race of trials: which settings are best, and whether they are significantly better than the current ones."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from rung.metrics import stats
from rung.sequential.interim import AnalysisSchedule, InterimAnalysis, bounds, drop
from rung.sequential.race import Outcome
from rung.tune.trials import Trial
from rung.types import Example, Interval

ERROR = 0.05
"""Error budget of the race: probability that settings are wrongly called better, over all trials and stages."""


@dataclass(frozen=True)
class RaceSetup:
    """Settings of a race, fixed before the first row is scored."""

    rows: tuple[Example, ...]
    clusters: list[Hashable] | None
    schedule: AnalysisSchedule
    binary: bool

    def at(self, values: Sequence[float], error: float) -> tuple[InterimAnalysis, list[Hashable] | None, bool]:
        """The stage that ends after `values`, the clusters of its rows, and whether rows are right/wrong."""
        look = self.schedule.at(error)[self.schedule.sizes.index(len(values))]
        return look, self.clusters[: look.rows] if self.clusters else None, self.binary


@dataclass(frozen=True)
class TuningVerdict:
    """Result of a tuning race."""

    verdict: Literal["gain", "no gain", "untold"]
    why: str
    best: int | None = None
    """Index of the recommended trial."""
    difference: Interval | None = None
    """Score difference between the best other trial and the current settings on shared rows, with bounds at its share of
    the error."""
    lines: str = ""
    """Lines to add to rung.yaml; empty if it should stay unchanged."""


def tuning_verdict(
    rung: str, trials: Sequence[Trial], raced: Sequence[int], outcome: Outcome | None, track: RaceSetup
) -> TuningVerdict:
    """The verdict on the trials with indices `raced`; index 0 is the current settings."""
    if outcome is None or list(raced) == [0]:
        if any(trial.status in ("stopped", "not begun") for trial in trials):
            return TuningVerdict("untold", "Not enough time; run the same command again to resume.")
        if any(trial.status == "lost" for trial in trials):
            return TuningVerdict("untold", "Machines were lost; run the same command again to resume.")
        return TuningVerdict("untold", f"Undecided: fewer than two trials could be measured.{_failures(trials)}")
    values = dict(zip(raced, outcome.values))
    left = sorted((raced[place] for place in outcome.left), key=lambda i: -fmean(values[i]))
    if 0 not in values:
        now, other = trials[0], trials[left[0]]
        why = f"The current settings were not measured ({now.status}: {now.reason}). Of the others {other.name} scores best."
        if remedy := {"unanswered": "Fix that and tune again.", "lost": "Run it again."}.get(now.status):
            return TuningVerdict("untold", f"Undecided: {why[0].lower()}{why[1:]} {remedy}", left[0])
        return TuningVerdict("gain" if now.status == "failed" else "untold", why, left[0], lines=other.lines(rung))
    rivals = [i for i in left if i]
    if not rivals:
        return TuningVerdict("no gain", "Keep the current settings: all others were shown to be worse.", 0)
    present = values[0]
    at = track.at(present, ERROR / (len(raced) - 1))
    better = [i for i in rivals if drop(present, values[i][: len(present)], *at)]
    best = (better or rivals)[0]
    gain = _difference(present, values[best][: len(present)], *at)
    seen = f"{trials[best].name} against the current settings: {_signed(gain)}"
    if not better:
        return TuningVerdict("no gain", f"Keep the current settings. Best other: {seen}.", 0, gain)
    why = f"{seen}. Shown to be better, at an error of {ERROR:g} over all {len(raced)} trials and stages."
    return TuningVerdict("gain", why, best, gain, trials[best].lines(rung))


def _failures(trials: Sequence[Trial]) -> str:
    failed = [one for one in trials if one.status in ("failed", "unanswered")]
    return f" {len(failed)} of {len(trials)} failed; {failed[0].name}: {failed[0].reason}" if failed else ""


def _difference(
    a: Sequence[float], b: Sequence[float], look: InterimAnalysis, clusters: Sequence[Hashable] | None, binary: bool
) -> Interval:
    """Mean of b minus mean of a on the same rows, with bounds at the stage's error that hold under any stopping rule."""
    if binary and clusters is None:
        only_a, only_b = (sum(x > y for x, y in zip(*pair)) for pair in ((a, b), (b, a)))
        return stats.paired_difference(only_a, only_b, len(a), confidence=1 - 2 * look.error)
    found = bounds([(1 + y - x) / 2 for x, y in zip(a, b)], look, clusters)
    return Interval(2 * found.value - 1, 2 * found.low - 1, 2 * found.high - 1, found.n)


def _signed(found: Interval) -> str:
    return f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}], n={found.n}"
