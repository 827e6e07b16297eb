"""Racing against full evaluation: rows asked, same decisions, and wrong ones, on simulated ladders or on kept answers.

A ladder is climbed twice on the same answers: with every rung on all rows, and by looks. Scores of the first ladder are
those measured on banking77 (RESULTS.md); the second is crowded around the goals. Rows are of uneven difficulty, so the
rungs' answers are correlated. `--folder TASK` replays the answers kept in TASK/.rung in many row orders instead.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rung import metrics
from rung.metrics import stats
from rung.sequential.interim import InterimAnalysis, schedule_analyses, so_far
from rung.sequential.race import clusters_of, in_order, race

ALPHA = 0.05
LADDERS = {
    "banking77": (0.006, 0.634, 0.838, 0.028, 0.156, 0.784, 0.744),
    "crowded": (0.60, 0.68, 0.72, 0.76, 0.79, 0.82, 0.85),
}
GOALS = (0.5, 0.65, 0.8, 0.9)
TRIALS = (0.30, 0.55, 0.70, 0.74, 0.78, 0.80)
"""Scores of six settings of one option."""
STANDINGS = {"open": 0, "meets": 1, "fails": 2, "hopeless": 3}


@dataclass(frozen=True)
class Tally:
    """Climbs or races done both ways."""

    what: str
    full_rows: int
    racing_rows: int
    runs: int
    same: int
    full_wrong: int | None = None
    """None where it is not known what is true."""
    racing_wrong: int | None = None

    def __str__(self) -> str:
        ratio = self.full_rows / max(1, self.racing_rows)
        wrong = ""
        if self.full_wrong is not None and self.racing_wrong is not None:
            wrong = f"  wrong: full {share(self.full_wrong, self.runs)}, racing {share(self.racing_wrong, self.runs)}"
        rows = f"{self.full_rows / self.runs:5.0f} -> {self.racing_rows / self.runs:5.0f} rows"
        return f"{self.what:34s} {rows} ({ratio:.2f})  same {share(self.same, self.runs)}{wrong}"


def whole_look(n: int, error: float) -> InterimAnalysis:
    """Full evaluation: one look at all rows, which spends all."""
    return InterimAnalysis(n, n, error, 0.0, error)


def share(count: int, runs: int) -> str:
    found = stats.wilson(count, runs)
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


# --- simulated answers ------------------------------------------------------------------------------------------------


def answers(rng: np.random.Generator, means: Sequence[float], runs: int, n: int, graded: bool) -> np.ndarray:
    """Values of shape (runs, rungs, n). Half of what makes a row hard is common to all rungs."""
    from scipy.special import betaincinv, ndtr, ndtri

    common = rng.standard_normal((runs, 1, n))
    own = rng.standard_normal((runs, len(means), n))
    level = ndtr((common + own) / np.sqrt(2))
    p = np.asarray(means)[None, :, None]
    if graded:  # U-shaped, as token F1 is
        return betaincinv(p, 1 - p, level).clip(0, 1)
    return (ndtri(level) < ndtri(p)).astype(np.float64)


def standings(values: np.ndarray, goal: float, look: InterimAnalysis, binary: bool) -> np.ndarray:
    """Numbers of STANDINGS, of shape values.shape[:-1]. Right/wrong rows by a table over their counts."""
    seen = values[..., : look.rows]
    if binary:
        told = [so_far([1.0] * k + [0.0] * (look.rows - k), goal, look, None, True) for k in range(look.rows + 1)]
        table = np.array([STANDINGS[t] for t in told])
        return table[seen.sum(axis=-1).astype(int)]
    flat = seen.reshape(-1, look.rows)
    return np.array([STANDINGS[so_far(row, goal, look)] for row in flat]).reshape(seen.shape[:-1])


def by_looks(values: np.ndarray, goal: float, looks: list[InterimAnalysis], binary: bool) -> tuple[np.ndarray, np.ndarray]:
    """Verdict and rows asked of each rung, each by itself."""
    verdict, asked = np.zeros(values.shape[:-1], int), np.zeros(values.shape[:-1], int)
    for look in looks:
        still = verdict == 0
        asked[still] = look.rows
        verdict[still] = standings(values[still], goal, look, binary)
    return verdict, asked


def climbed(verdict: np.ndarray, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(first rung that meets the goal or -1, rows asked up to it)"""
    meets = verdict == 1
    first = np.where(meets.any(axis=1), meets.argmax(axis=1), -1)
    last = np.where(first < 0, verdict.shape[1] - 1, first)
    return first, asked.cumsum(axis=1)[np.arange(len(last)), last]


def compare(what: str, values: np.ndarray, means: Sequence[float], goal: float, binary: bool) -> Tally:
    runs, rungs, n = values.shape
    first, rows = climbed(*by_looks(values, goal, [whole_look(n, ALPHA / rungs)], binary))
    raced, fewer = climbed(*by_looks(values, goal, schedule_analyses(n).at(ALPHA / rungs), binary))
    short = np.asarray(means) < goal

    def wrong(first: np.ndarray) -> int:
        """Climbs that end with a rung that is short of the goal."""
        return int((short[first] & (first >= 0)).sum())

    return Tally(what, rows.sum(), fewer.sum(), runs, int((first == raced).sum()), wrong(first), wrong(raced))


def trials(rng: np.random.Generator, runs: int, n: int) -> Tally:
    """Six settings of an option: the best mean of all rows against a race. Wrong: not the truly best."""
    looks, best = schedule_analyses(n), len(TRIALS) - 1
    values = answers(rng, TRIALS, runs, n, graded=False)
    full = values.mean(axis=2).argmax(axis=1)
    same, wrong, asked, lost = 0, 0, 0, 0
    for of_run, winner in zip(values, full, strict=True):
        raced = race([lambda at, v=v: v[at] for v in of_run], np.arange(n), looks, alpha=ALPHA, binary=True)
        asked += sum(raced.rows_asked)
        same += raced.winner == winner
        wrong += raced.winner != best
        lost += best not in raced.left
    print(f"truly best dropped: {share(lost, runs)}, {runs} races of {len(TRIALS)} trials, at most {ALPHA} allowed")
    return Tally(f"{len(TRIALS)} trials, {n} rows", runs * n * len(TRIALS), asked, runs, same, int((full != best).sum()), wrong)


def simulated(quick: bool) -> list[Tally]:
    runs, few, found = (1000, 12, []) if quick else (4000, 60, [])
    for name, means in LADDERS.items():
        for n in (200, 400):
            for goal in GOALS:
                rng = np.random.default_rng([n, int(100 * goal)])
                values = answers(rng, means, runs, n, graded=False)
                found.append(compare(f"{name}, goal {goal}, {n} rows", values, means, goal, True))
                print(found[-1], flush=True)
        for goal in GOALS:
            values = answers(np.random.default_rng(int(100 * goal)), means, few, 200, graded=True)
            found.append(compare(f"{name}, goal {goal}, 200 graded rows", values, means, goal, False))
            print(found[-1], flush=True)
    return found


# --- kept answers -----------------------------------------------------------------------------------------------------


def replayed(folder: Path, orders: int) -> list[Tally]:
    """The last full measurement of each rung, in `orders` row orders."""
    from rung.climbing.project import Project
    from rung.task import load_task

    project = Project(load_task(folder))
    dev = project.inputs.splits.dev
    metric = project.scoring.metric()
    binary, goal = metric.binary, project.task.goal.at_least
    kept = {r.rung: project.store.predictions(r.predictor) for r in project.store.records() if r.status == "done"}
    whole = {rung: told for rung, told in kept.items() if all(row.id in told for row in dev)}
    assert whole and metric.corpus is None, "no rung has answered all dev rows, or the metric is no mean over rows"
    per_row = {}
    for rung, told in whole.items():
        found = metrics.score(metric, dev, [told[row.id] for row in dev], "dev", kind=project.task.kind)
        per_row[rung] = dict(zip(found.ids, found.per_row, strict=True))
    error = ALPHA / len(whole)
    full = {r: so_far(list(v.values()), goal, whole_look(len(dev), error), clusters_of(dev), binary)
            for r, v in per_row.items()}  # fmt: skip
    rows, asked, same = 0, 0, 0
    for seed in range(orders):
        order = in_order(dev, seed)
        clusters = clusters_of(order)
        looks = schedule_analyses(len(order), clusters).at(error)
        for rung, by_id in per_row.items():
            values = [by_id[row.id] for row in order]
            for look in looks:
                said = so_far(values[: look.rows], goal, look, clusters and clusters[: look.rows], binary)
                if said != "open":
                    break
            rows, asked, same = rows + len(dev), asked + look.rows, same + (said == full[rung])
    runs = orders * len(whole)
    print(f"{len(whole)} rungs, {len(dev)} dev rows, {orders} orders; each rung by itself; which verdicts are true is not known")
    return [Tally(f"{folder.name}, goal {goal}", rows, asked, runs, same)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer simulated climbs")
    parser.add_argument("--folder", type=Path, help="a climbed task, whose kept answers are replayed")
    args = parser.parse_args()
    began = time.perf_counter()
    if args.folder:
        found = replayed(args.folder, 50 if args.quick else 200)
        print(found[0])
    else:
        found = simulated(args.quick)
        print(raced := trials(np.random.default_rng(7), 300 if args.quick else 2000, 400))
    runs, same = sum(t.runs for t in found), sum(t.same for t in found)
    if not args.folder:
        full, racing = (share(sum(getattr(t, side) for t in found), runs) for side in ("full_wrong", "racing_wrong"))
        print(f"wrong climbs in all: full {full}, racing {racing}; at most {ALPHA} allowed")
    print(f"same decision: {share(same, runs)} of {runs}; {time.perf_counter() - began:.0f} s")
    found += [] if args.folder else [raced]
    per_line = [sum(getattr(t, side) / t.runs for t in found) for side in ("full_rows", "racing_rows")]  # each line alike
    ratio = per_line[0] / per_line[1]
    print(f"ratio={ratio:.2f} rows of full evaluation over rows of racing")


if __name__ == "__main__":
    main()
