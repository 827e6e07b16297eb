"""Coordinates of the plot of score against coverage: what each rung scores on the rows that it is surest of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rung.metrics import find
from rung.report.figures import Scale, Tick
from rung.types import Record, Scores

FEWEST = 10
"""Rows from which a line begins: the share right of fewer says little."""
MOST_POINTS = 200
LINE = 14
"""Height of a label."""


@dataclass(frozen=True, slots=True)
class Line:
    """One rung: its score over the surest rows, as a polyline from few rows to all that have a confidence."""

    rung: str
    chosen: bool
    path: str
    end: tuple[float, float]
    label: float
    """Height of its name beside the plot, so that names do not overlap."""
    mark: tuple[float, float]
    """At the rows it answers."""
    caption: str
    """The numbers at the mark."""


@dataclass(frozen=True, slots=True)
class CoveragePlot:
    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    what: str
    """What the score is."""
    goal: float
    due: float
    """Positions of the goal's score and coverage."""
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...]


def coverage_plot(
    records: Sequence[Record], chosen: str, goal: float, due: float, width: int = 640, height: int = 340
) -> CoveragePlot | None:
    """The plot of all rungs that gave confidences; None if none did."""
    curves = [(record, curve) for record in records if record.scores and (curve := _curve(record.scores))]
    if not curves:
        return None
    left, right, top, bottom = 44, width - 150, 14, height - 44
    low = math.floor(10 * min(goal, *(min(curve) for _, curve in curves))) / 10
    high = 1.0 if low < 1 else 1.1
    x, y = Scale(0.0, 1.0, left, right), Scale(low, high, bottom, top)
    drawn = [_line(record, curve, record.rung == chosen, x, y) for record, curve in curves]
    tenths = range(round(10 * low), 11)
    step = max(1, math.ceil(len(tenths) / 6))
    metric = find(next(record.scores.metric for record, _ in curves if record.scores))
    return CoveragePlot(
        *(width, height, left, right, top, bottom),
        "share right" if metric and metric.corpus else metric.name if metric else "score",
        y(goal),
        x(due),
        tuple(Tick(x(k / 5), f"{k / 5:.1f}") for k in range(6)),
        tuple(Tick(y(k / 10), f"{k / 10:.1f}") for k in tenths if (10 - k) % step == 0),
        _apart(drawn, top, bottom),
    )


def _curve(scores: Scores) -> list[float]:
    """Mean score of the surest 1, 2, … rows; empty where no row has a confidence."""
    known = [(sure, value) for sure, value in zip(scores.confidences, scores.per_row) if sure is not None]
    total, means = 0.0, []
    for count, (_, value) in enumerate(sorted(known, key=lambda row: -row[0]), 1):
        total += value
        means.append(total / count)
    return means[min(FEWEST, len(means)) - 1 :] if means else []


def _line(record: Record, curve: Sequence[float], chosen: bool, x: Scale, y: Scale) -> Line:
    scores = record.scores
    assert scores and scores.coverage, "only rungs with a coverage have a curve"
    n, last = len(scores.ids), sum(one is not None for one in scores.confidences)
    first = last - len(curve) + 1
    stride = max(1, len(curve) // MOST_POINTS)
    places = sorted({*range(0, len(curve), stride), len(curve) - 1})
    at = round(scores.coverage.value * n)
    mark = curve[min(max(at - first, 0), len(curve) - 1)]
    end = x(last / n), y(curve[-1])
    path = " ".join(f"{x((first + i) / n)},{y(curve[i])}" for i in places)
    caption = f"answers {scores.coverage.value:.0%} of {n}, {scores.metric} {scores.overall.value:.3f}"
    return Line(record.rung, chosen, path, end, end[1], (x(at / n), y(mark)), caption)


def _apart(lines: Sequence[Line], top: float, bottom: float) -> tuple[Line, ...]:
    """The lines with the heights of their names moved apart."""
    out: dict[str, float] = {}
    height = float(top)
    for line in sorted(lines, key=lambda one: one.end[1]):
        height = max(height, line.end[1])
        out[line.rung] = height
        height += LINE
    over = max(0.0, height - LINE - bottom)
    return tuple(replace(line, label=max(float(top), out[line.rung] - over)) for line in lines)
