"""The geometry of the report's figures: where dots, whiskers, ticks and labels stand. The templates draw them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rung.types import Interval, Verdict


@dataclass(frozen=True, slots=True)
class Scale:
    """A straight map from values to places; what lies outside is put at the edge."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + min(1.0, max(0.0, share)) * (self.end - self.start), 1)


@dataclass(frozen=True, slots=True)
class Tick:
    at: float
    text: str


# --- interval bars ----------------------------------------------------------------------------------------------------

BAR_WIDTH = 150
BAR_PAD = 6


@dataclass(frozen=True, slots=True)
class Bar:
    low: float
    at: float
    high: float


@dataclass(frozen=True, slots=True)
class Bars:
    """One axis for all bars, so that they can be read against each other."""

    width: int
    goal: float
    ticks: tuple[Tick, ...]
    bars: tuple[Bar, ...]


def reach(intervals: Iterable[Interval], goal: float) -> tuple[float, float]:
    """Tenths around all intervals and the goal, at least three of them, within 0 to 1 where the values are."""
    values = [goal, *(v for i in intervals for v in (i.value, i.low, i.high))]
    low, high = math.floor(10 * min(values)) / 10, math.ceil(10 * max(values)) / 10
    if high - low < 0.3:
        low, high = max(min(low, 0.0), high - 0.3), max(high, min(low + 0.3, 1.0))
    return low, high


def score_ticks(scale: Scale, most: int) -> tuple[Tick, ...]:
    tenths = range(round(10 * scale.low), round(10 * scale.high) + 1)
    step = next(s for s in (1, 2, 5, 10) if len(tenths) <= most * s or s == 10)
    return tuple(Tick(scale(t / 10), f"{t / 10:.1f}") for t in tenths if t % step == 0)


def bars(intervals: Sequence[Interval], goal: float) -> Bars:
    scale = Scale(*reach(intervals, goal), BAR_PAD, BAR_WIDTH - BAR_PAD)
    drawn = tuple(Bar(scale(i.low), scale(i.value), scale(i.high)) for i in intervals)
    return Bars(BAR_WIDTH, scale(goal), score_ticks(scale, 6), drawn)


# --- quality against cost ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Point:
    """A measured rung: its score, and what it costs by each of `MEASURES` (None where not measured)."""

    rung: str
    verdict: Verdict
    chosen: bool
    score: Interval
    costs: dict[str, float | None]


@dataclass(frozen=True, slots=True)
class Measure:
    """What the x axis may show. Values under `floor` are as good as nothing and stand in a lane of their own."""

    key: str
    short: str
    title: str
    narrow: str
    """The title where there is little room."""
    floor: float
    unit: str


MEASURES = (
    Measure(
        "cost",
        "Cost",
        "US dollars a month, a twelfth of what is paid once included (log scale)",
        "US dollars a month (log scale)",
        0.001,
        "$",
    ),
    Measure("latency", "p95 latency", "p95 latency, milliseconds (log scale)", "milliseconds (log scale)", 1.0, ""),
    Measure("fit", "Time to fit", "Seconds to fit (log scale)", "seconds (log scale)", 0.1, ""),
)


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a dot and its name stand on one x axis."""

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
    """One a point, same order; None where this was not measured."""


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
LETTER = 7.4
"""About the width of a letter at the size of the labels."""
LABEL_GAP = 11


def scatter(points: Sequence[Point], goal: float, width: int, height: int) -> Scatter:
    """Quality (up) against each measure of cost (right)."""
    left, right, top, bottom = 40, width - 12, 14, height - 48
    scale = Scale(*reach((p.score for p in points), goal), bottom, top)
    dots = tuple(Dot(p, scale(p.score.value), scale(p.score.low), scale(p.score.high)) for p in points)
    axes = tuple(_axis(measure, dots, left, right, top, bottom) for measure in MEASURES)
    return Scatter(width, height, left, right, top, bottom, scale(goal), score_ticks(scale, 6), dots, axes)


def _axis(measure: Measure, dots: Sequence[Dot], left: int, right: int, top: int, bottom: int) -> Axis:
    values = [dot.point.costs[measure.key] for dot in dots]
    lane_end = round(left + LANE * (right - left), 1)
    above = [v for v in values if v is not None and v >= measure.floor]
    low = math.floor(math.log10(min(above, default=measure.floor)))
    high = max(low + 1, math.ceil(math.log10(max(above, default=measure.floor))))
    scale = Scale(low, high, lane_end + 14, right - 14)
    cheap = sum(v is not None and v < measure.floor for v in values)
    xs: list[float | None] = []
    seen = 0
    for value in values:
        if value is not None and value < measure.floor:  # side by side, for their whiskers may overlap
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
    """Each name beside its dot, on the side where it covers least of the other dots, whiskers and names."""
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
    """A name to the right (1) or left (-1) of its dot, its foot `drop` below it, and the room it takes."""
    wide, foot = LETTER * len(dot.point.rung), round(dot.y + drop, 1)
    near = round(x + LABEL_GAP * side, 1)
    first = near if side > 0 else near - wide
    return Mark(x, near, foot, "start" if side > 0 else "end"), (first, foot - 10, first + wide, foot + 3)


def _overlap(a: Box, b: Box) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def _outside(box: Box, edges: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1]) - _overlap(box, edges)


# --- curves -----------------------------------------------------------------------------------------------------------

CURVE_WIDTH, CURVE_HEIGHT = 340, 170
MOST_POINTS = 300


@dataclass(frozen=True, slots=True)
class Curve:
    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    path: str
    """Points of a polyline."""
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


def curve(values: Sequence[float]) -> Curve | None:
    """A line through values by step, thinned by means of neighbours; None without two finite values."""
    places = [(i + 1, v) for i, v in enumerate(values) if math.isfinite(v)]
    if len(places) < 2:
        return None
    size = math.ceil(len(places) / MOST_POINTS)
    parts = [places[i : i + size] for i in range(0, len(places), size)]
    thin = [(sum(s for s, _ in part) / len(part), sum(v for _, v in part) / len(part)) for part in parts]
    left, right, top, bottom = 42, CURVE_WIDTH - 10, 10, CURVE_HEIGHT - 24
    ticks = _round_ticks(min(v for _, v in thin), max(v for _, v in thin))
    x, y = Scale(1, len(values), left, right), Scale(ticks[0], ticks[-1], bottom, top)
    return Curve(
        CURVE_WIDTH,
        CURVE_HEIGHT,
        left,
        right,
        top,
        bottom,
        " ".join(f"{x(step)},{y(value)}" for step, value in thin),
        tuple(Tick(x(step), f"{step:,}") for step in sorted({1, (1 + len(values)) // 2, len(values)})),
        tuple(Tick(y(value), f"{value:.6g}") for value in ticks),
    )


def _round_ticks(low: float, high: float) -> list[float]:
    """Three to seven round values from at or under `low` to at or over `high`; from 0 where `low` is near it."""
    if 0 <= low < 0.3 * high:
        low = 0.0
    span = (high - low) or abs(high) or 1.0
    rough = span / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), max(math.ceil(high / step - 1e-9), math.floor(low / step) + 1)
    return [i * step for i in range(first, last + 1)]
