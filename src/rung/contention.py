"""Other programs on this machine: which share of our processors they take, and what that means for quotes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psutil

from rung.machine import BUSY, affinity


def others_share(busy: Sequence[float], ours: Sequence[int], own_seconds: float, seconds: float) -> float:
    """The share of our processors that other programs took: all that was `busy` (percent, one number a processor) on
    those that are `ours`, less the processor time that this process took itself."""
    seen = [busy[cpu] for cpu in ours if cpu < len(busy)] or busy  # some containers number their processors anew
    return max(0.0, sum(seen) / len(seen) / 100 - own_seconds / (seconds * len(seen)))


@contextmanager
def watching_others() -> Iterator[Callable[[], float]]:
    """Gives a function that tells the share of our processors, 0 to 1, that other programs took since the context was entered."""
    before, started, own = psutil.cpu_times(percpu=True), time.perf_counter(), _own_seconds()

    def share() -> float:
        seconds = time.perf_counter() - started
        busy = [_busy_percent(a, b) for a, b in zip(before, psutil.cpu_times(percpu=True))]
        return others_share(busy, affinity(), _own_seconds() - own, seconds)

    yield share


def _busy_percent(before: Any, after: Any) -> float:
    spent = {name: getattr(after, name) - getattr(before, name) for name in after._fields if name not in ("guest", "guest_nice")}
    idle = spent["idle"] + spent.get("iowait", 0.0)
    return 100 * (1 - idle / total) if (total := sum(spent.values())) > 0 else 0.0


def _own_seconds() -> float:
    times = psutil.Process().cpu_times()
    return float(times.user + times.system)


def others_now(seconds: float = 0.3) -> float:
    """The share of our processors, 0 to 1, that other programs take now; watches for `seconds`."""
    with watching_others() as share:
        time.sleep(seconds)
        return share()


def busy_warning(others: float) -> str:
    """What a person who reads quotes should know about a busy machine; empty where others take less than `BUSY`."""
    if others < BUSY:
        return ""
    return f"Other programs take {others:.0%} of the processors now. Quotes are for a quiet machine: expect longer times."
