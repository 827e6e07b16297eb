"""Held-out rows that a claim needs: dev bounds alone at a shared error, as rung 0.1 had, against dev and sealed rows joined.

Climbs are simulated on ladders of seven rungs whose true scores are known. Half of the held-out rows are dev. Before: the
first rung whose dev bound at 0.05 / 7 reaches the goal (Wilson, or the bootstrap). Now: `rung.claims`, as `rung climb` uses
it. The number of rows at which 0.8 of the climbs rightly end in *meets* is found for each by interpolation. Half of what
makes a row hard is common to all rungs. On the ladders of which every rung is just under the goal each *meets* is wrong.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from unittest import mock

import numpy as np

from rung.claims import evidence, exact
from rung.claims.evidence import Rows
from rung.claims.order import next_proof
from rung.claims.shares import FIRST, SCREEN, Candidate, Counted, Untried, levels
from rung.metrics import interval, resample, stats

ALPHA, SHARE = 0.05, 0.8
RESAMPLES = 1000
"""Of each bootstrap here, on both sides; a climb takes 10,000."""


@dataclass(frozen=True)
class Ladder:
    name: str
    scores: tuple[float, ...]
    goal: float
    start: tuple[int, int]
    """Numbers of held-out rows to begin the search with: before, now."""
    graded: bool = False
    group: int = 1
    """Rows of a group, which are alike."""

    @property
    def short(self) -> np.ndarray:
        return np.array(self.scores) < self.goal


LADDERS = (
    Ladder("as measured on banking77", (0.11, 0.47, 0.83, 0.86, 0.50, 0.30, 0.60), 0.75, (270, 120)),
    Ladder("three good ones, rising", (0.10, 0.50, 0.78, 0.82, 0.85, 0.60, 0.70), 0.75, (340, 160)),
    Ladder("one good, crowded below", (0.20, 0.50, 0.60, 0.74, 0.72, 0.80, 0.70), 0.75, (1650, 720)),
    Ladder("a goal near 1", (0.30, 0.70, 0.88, 0.95, 0.96, 0.80, 0.60), 0.90, (420, 200)),
    Ladder("graded rows", (0.20, 0.45, 0.70, 0.76, 0.50, 0.30, 0.60), 0.62, (330, 150), graded=True),
    Ladder("in groups of four", (0.11, 0.47, 0.83, 0.86, 0.50, 0.30, 0.60), 0.75, (430, 200), group=4),
)
JUST_UNDER = (
    Ladder("just under, right or wrong", (0.10, 0.40, *[0.749] * 5), 0.75, (200, 200)),
    Ladder("just under, goal near 1", (0.50, *[0.899] * 6), 0.90, (200, 200)),
    Ladder("just under, graded", (0.10, 0.40, *[0.749] * 5), 0.75, (120, 120), graded=True),
    Ladder("just under, in groups of four", (0.10, 0.40, *[0.749] * 5), 0.75, (240, 240), group=4),
)


def answers(rng: np.random.Generator, ladder: Ladder, n: int) -> np.ndarray:
    """One climb's scores, of shape (rungs, n)."""
    from scipy.special import betaincinv, ndtr, ndtri

    m, groups = len(ladder.scores), n // ladder.group
    common, own = rng.standard_normal((1, n)), rng.standard_normal((m, n))
    if ladder.group > 1:
        alike = np.repeat(rng.standard_normal((m, groups)), ladder.group, axis=1)
        own = (own + alike) / math.sqrt(2)
    level = (common + own) / math.sqrt(2)
    p = np.array(ladder.scores)[:, None]
    if ladder.graded:  # U-shaped, as token F1 is
        return np.asarray(betaincinv(p, 1 - p, ndtr(level)).clip(0, 1))
    return (level < ndtri(p)).astype(np.float64)


# --- before -----------------------------------------------------------------------------------------------------------


def before(values: np.ndarray, seen: int, ladder: Ladder) -> int | None:
    """The first rung whose bound on dev reaches the goal."""
    clusters = groups_of(seen, ladder)
    for rung, row in enumerate(values[:, :seen]):
        bounds = interval(row, clusters=clusters, confidence=1 - 2 * ALPHA / len(values)) if row.mean() > ladder.goal else None
        if bounds and bounds.low >= ladder.goal:
            return rung
    return None


def groups_of(n: int, ladder: Ladder) -> list[int] | None:
    return [row // ladder.group for row in range(n)] if ladder.group > 1 else None


# --- now --------------------------------------------------------------------------------------------------------------

upper = lru_cache(None)(exact.upper)


@dataclass(frozen=True)
class Climb:
    """A simulated climb: the rung that is proved to meet the goal, if any."""

    chosen: int | None
    measured: int
    """Rungs that answered the dev rows."""
    sealed: tuple[int, ...]
    """Rungs that answered the sealed rows too."""


def now(values: np.ndarray, seen: int, ladder: Ladder) -> int | None:
    """The rung that a climb proves; None if no proof holds."""
    return climb(values, seen, ladder).chosen


def climb(values: np.ndarray, seen: int, ladder: Ladder) -> Climb:
    """Rungs measured in order, the next one proved when its chance is fair."""
    m, n, error = len(values), values.shape[1], ALPHA * FIRST
    candidates: list[Candidate] = []
    proved: dict[int, Rows] = {}
    dev = [Rows(row[:seen], clusters=groups_of(seen, ladder)) for row in values]
    looks: list[evidence.Outlook] = []
    for measured in range(1, m + 1):
        looks.append(evidence.outlook(dev[measured - 1]))
        candidates.append(screened(dev[measured - 1], n - seen, SCREEN * error / m))
        level = levels([*candidates, *[Untried()] * (m - measured)], ladder.goal, error)
        while True:
            held = [r for r in proved if evidence.bounds(proved[r], level[r]).low >= ladder.goal]
            if held:
                return Climb(min(held), measured, tuple(proved))
            chances = [None if r in proved else looks[r].chance(n - seen, ladder.goal, level[r]) for r in range(measured)]
            rung = next_proof(chances, len(proved), measured == m)
            if rung is None:
                break
            proved[rung] = Rows(values[rung], clusters=groups_of(n, ladder))
    return Climb(None, m, tuple(proved))


def screened(rows: Rows, sealed: int, error: float) -> Candidate:
    if rows.counted:
        return Counted(len(rows) + sealed, upper(rows.right, len(rows), error))
    return evidence.candidate(rows, evidence.bounds(rows, error).high, sealed)


# --- how many rows ----------------------------------------------------------------------------------------------------

Rule = Callable[[np.ndarray, int, Ladder], "int | None"]


def climbs(rule: Rule, ladder: Ladder, n: int, runs: int) -> tuple[int, int]:
    """Right and wrong *meets* among simulated climbs with `n` held-out rows."""
    right = wrong = 0
    for run in range(runs):
        chosen = rule(answers(np.random.default_rng([n, run]), ladder, n), n // 2 // ladder.group * ladder.group, ladder)
        if chosen is not None:
            wrong += bool(ladder.short[chosen])
            right += not ladder.short[chosen]
    return right, wrong


def rows_needed(rule: Rule, ladder: Ladder, start: int, runs: int) -> tuple[float, int, int]:
    """Held-out rows for the wanted share of right *meets*; wrong *meets*; climbs. By interpolation of its probit over √n."""
    from scipy.special import ndtri

    known: dict[int, float] = {}
    wrong, n, aim = 0, start, float(ndtri(SHARE))
    for _ in range(5):
        n = max(16, round(n / 8) * 8)
        if n in known:
            break
        right, bad = climbs(rule, ladder, n, runs)
        wrong += bad
        known[n] = float(ndtri((right + 0.5) / (runs + 1)))
        n = round(solved(known, aim))
    return solved(known, aim), wrong, runs * len(known)


def solved(known: dict[int, float], aim: float) -> float:
    """Between the closest numbers of rows on both sides of the aim; outside, power grows about as a·√n - 1.7."""
    below, above = ([n for n in known if (known[n] < aim) == side] for side in (True, False))
    if not below or not above:
        n = max(below) if below else min(above)
        return float(n * min(2.0, max(0.6, ((aim + 1.7) / max(0.3, known[n] + 1.7)) ** 2 * (1.02 if below else 0.98))))
    low, high = max(below, key=lambda n: known[n]), min(above, key=lambda n: known[n])
    part = (aim - known[low]) / (known[high] - known[low])
    return float((math.sqrt(low) + part * (math.sqrt(high) - math.sqrt(low))) ** 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer simulated climbs")
    quick = parser.parse_args().quick
    began, ratios, wrong, of = time.perf_counter(), [], 0, 0
    for ladder in LADDERS:
        runs = (120 if ladder.graded else 300) * (1 if quick else 8)
        found = [rows_needed(rule, ladder, n, runs) for rule, n in zip((before, now), ladder.start, strict=True)]
        ratios.append(found[0][0] / found[1][0])
        wrong, of = wrong + found[1][1], of + found[1][2]
        rows = f"{found[0][0]:5.0f} -> {found[1][0]:4.0f} rows ({ratios[-1]:.2f})"
        print(f"{ladder.name:32s} {rows}, {runs} climbs a point", flush=True)
    print(f"wrong meets on these: {stats.wilson(wrong, of)}")
    worst = 0.0
    for ladder in JUST_UNDER:
        runs = (200 if ladder.graded else 800) * (1 if quick else 8)
        shares = [climbs(rule, ladder, ladder.start[0], runs)[1] for rule in (before, now)]
        told = stats.wilson(shares[1], runs)
        worst = max(worst, told.value)
        print(f"{ladder.name:32s} wrong meets: {told} now, {shares[0] / runs:.3f} before; {ladder.start[0]} rows", flush=True)
    ratio = math.exp(sum(map(math.log, ratios)) / len(ratios))
    print(f"{time.perf_counter() - began:.0f} s")
    print(f"ratio={ratio:.2f} rows before over rows now (geometric mean); wrong meets at most {worst:.3f}, {ALPHA} allowed")


if __name__ == "__main__":
    with mock.patch.object(resample, "bootstrap_interval", partial(resample.bootstrap_interval, resamples=RESAMPLES)):
        main()
