"""Coordinates of the report's figures: dots, whiskers, ticks and labels. The templates draw them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rung.types import Interval


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear map from values to positions, clipped at the edges."""

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
    """Interval bars on a shared axis."""

    width: int
    goal: float
    ticks: tuple[Tick, ...]
    bars: tuple[Bar, ...]


def axis_range(intervals: Iterable[Interval], goal: float) -> tuple[float, float]:
    """An axis range in tenths that covers all intervals and the goal, at least 0.3 wide, within 0 to 1 if the values are."""
    values = [goal, *(v for i in intervals for v in (i.value, i.low, i.high))]
    low, high = math.floor(10 * min(values)) / 10, math.ceil(10 * max(values)) / 10
    if high - low < 0.3:
        low, high = max(min(low, 0.0), high - 0.3), max(high, min(low + 0.3, 1.0))
    return low, high


def score_ticks(scale: Scale, most: int) -> tuple[Tick, ...]:
    """At most about `most` ticks at round tenths."""
    tenths = range(round(10 * scale.low), round(10 * scale.high) + 1)
    step = next(s for s in (1, 2, 5, 10) if len(tenths) <= most * s or s == 10)
    return tuple(Tick(scale(t / 10), f"{t / 10:.1f}") for t in tenths if t % step == 0)


def bars(intervals: Sequence[Interval], goal: float) -> Bars:
    """One bar per interval, in order, on an axis that covers them all and the goal."""
    scale = Scale(*axis_range(intervals, goal), BAR_PAD, BAR_WIDTH - BAR_PAD)
    drawn = tuple(Bar(scale(i.low), scale(i.value), scale(i.high)) for i in intervals)
    return Bars(BAR_WIDTH, scale(goal), score_ticks(scale, 6), drawn)


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
    """A line through values by step, thinned by averaging neighbours; None without two finite values."""
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
    """Three to seven round values that cover `low` to `high`; from 0 if `low` is close to it."""
    if 0 <= low < 0.3 * high:
        low = 0.0
    span = (high - low) or abs(high) or 1.0
    rough = span / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), max(math.ceil(high / step - 1e-9), math.floor(low / step) + 1)
    return [i * step for i in range(first, last + 1)]
