"""Coordinates of the quality-cost scatter plot: dots, whiskers and labels for each x axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rung.decisions import Verdict
from rung.report.figures import Scale, Tick, axis_range, score_ticks
from rung.types import Interval


@dataclass(frozen=True, slots=True)
class Point:
    """A measured rung: its score, and its cost by `MEASURES` key (None if not measured)."""

    rung: str
    verdict: Verdict
    chosen: bool
    score: Interval
    costs: dict[str, float | None]


@dataclass(frozen=True, slots=True)
class Measure:
    """An x axis. Values below `floor` are negligible and drawn in a lane of their own."""

    key: str
    short: str
    title: str
    narrow: str
    """The title for narrow plots."""
    floor: float
    unit: str


MEASURES = (
    Measure(
        "cost",
        "Cost",
        "US dollars a month, including a twelfth of one-time costs (log scale)",
        "US dollars a month (log scale)",
        0.001,
        "$",
    ),
    Measure("latency", "p95 latency", "p95 latency, milliseconds (log scale)", "milliseconds (log scale)", 1.0, ""),
    Measure("fit", "Time to fit", "Seconds to fit (log scale)", "seconds (log scale)", 0.1, ""),
    Measure(
        "forgetting",
        "Forgetting",
        "Rise of the loss on general text, nats per token (log scale)",
        "nats per token (log scale)",
        0.001,
        "",
    ),
)


def measures(points: Sequence[Point]) -> tuple[Measure, ...]:
    """The measures available for all points."""
    return tuple(measure for measure in MEASURES if all(measure.key in point.costs for point in points))


@dataclass(frozen=True, slots=True)
class Mark:
    """Position of a dot and its label on one x axis."""

    x: float
    label_x: float
    label_y: float
    anchor: str


@dataclass(frozen=True, slots=True)
class Axis:
    measure: Measure
    lane: Tick
    lane_end: float
    ticks: tuple[Tick, ...]
    marks: tuple[Mark | None, ...]
    """One per point, in order; None if not measured."""


@dataclass(frozen=True, slots=True)
class Dot:
    point: Point
    y: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Scatter:
    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    """The plot's edges within the drawing."""
    goal: float
    y_ticks: tuple[Tick, ...]
    dots: tuple[Dot, ...]
    axes: tuple[Axis, ...]


LANE = 0.14
"""Share of the plot for the lane of negligible values, and its minimum width."""
LANE_LEAST = 64
LETTER = 7.4
"""Approximate width of a label letter."""
LABEL_GAP = 11


def scatter(points: Sequence[Point], goal: float, width: int, height: int) -> Scatter:
    """Quality (y) against each cost measure (x)."""
    left, right, top, bottom = 40, width - 12, 14, height - 48
    scale = Scale(*axis_range((p.score for p in points), goal), bottom, top)
    dots = tuple(Dot(p, scale(p.score.value), scale(p.score.low), scale(p.score.high)) for p in points)
    axes = tuple(_axis(measure, dots, left, right, top, bottom) for measure in measures(points))
    return Scatter(width, height, left, right, top, bottom, scale(goal), score_ticks(scale, 6), dots, axes)


def _axis(measure: Measure, dots: Sequence[Dot], left: int, right: int, top: int, bottom: int) -> Axis:
    values = [dot.point.costs[measure.key] for dot in dots]
    lane_end = round(left + max(LANE * (right - left), LANE_LEAST), 1)
    above = [v for v in values if v is not None and v >= measure.floor]
    low = math.floor(math.log10(min(above, default=measure.floor)))
    high = max(low + 1, math.ceil(math.log10(max(above, default=measure.floor))))
    scale = Scale(low, high, lane_end + 14, right - 14)
    cheap = sum(v is not None and v < measure.floor for v in values)
    xs: list[float | None] = []
    seen = 0
    for value in values:
        if value is not None and value < measure.floor:  # side by side, so that whiskers do not overlap
            seen += 1
            xs.append(round(left + (lane_end - left) * seen / (cheap + 1), 1))
        else:
            xs.append(None if value is None else scale(math.log10(value)))
    lane = Tick(round((left + lane_end) / 2, 1), f"<{measure.unit}{measure.floor:g}")
    edges = (left, top, right, bottom)
    return Axis(measure, lane, lane_end, _powers(scale, measure.unit), _labelled(xs, dots, edges))


def _powers(scale: Scale, unit: str) -> tuple[Tick, ...]:
    steps = (1, 2, 5) if scale.high - scale.low <= 2 else (1,)
    powers = range(int(scale.low), int(scale.high) + 1)
    stride = math.ceil(len(powers) / 7)
    values = [(p + math.log10(m), m * 10.0**p) for p in powers[::stride] for m in steps]
    return tuple(Tick(scale(log), f"{unit}{value:,.10g}") for log, value in values if log <= scale.high + 1e-9)


Box = tuple[float, float, float, float]


def _labelled(xs: Sequence[float | None], dots: Sequence[Dot], edges: Box) -> tuple[Mark | None, ...]:
    """Each label beside its dot, placed to overlap other dots, whiskers and labels least."""
    taken: list[Box] = []
    for x, dot in zip(xs, dots, strict=True):
        if x is not None:
            taken += [(x - 7, dot.y - 7, x + 7, dot.y + 7), (x - 2, dot.high, x + 2, dot.low)]
    marks: list[Mark | None] = []
    for x, dot in zip(xs, dots, strict=True):
        if x is None:
            marks.append(None)
            continue
        places = [_beside(x, dot, side, drop) for drop in (4, -10, 18, -24, 32) for side in (1, -1)]
        covered = [sum(_overlap(box, other) for other in taken) + 9 * _outside(box, edges) for _, box in places]
        mark, box = places[min(range(len(places)), key=lambda i: (round(covered[i]), i))]
        taken.append(box)
        marks.append(mark)
    return tuple(marks)


def _beside(x: float, dot: Dot, side: int, drop: int) -> tuple[Mark, Box]:
    """A label right (1) or left (-1) of its dot, `drop` below it, and its bounding box."""
    wide, foot = LETTER * len(dot.point.rung), round(dot.y + drop, 1)
    near = round(x + LABEL_GAP * side, 1)
    first = near if side > 0 else near - wide
    return Mark(x, near, foot, "start" if side > 0 else "end"), (first, foot - 10, first + wide, foot + 3)


def _overlap(a: Box, b: Box) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def _outside(box: Box, edges: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1]) - _overlap(box, edges)
