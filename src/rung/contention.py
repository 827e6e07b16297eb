"""CPU use of other programs, and what it means for time estimates."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psutil

from rung.hardware import affinity

BUSY_SHARE = 0.3
"""Maximum CPU share of other programs during a stored measurement; above it the speed would be too low."""


def share_of_others(busy: Sequence[float], ours: Sequence[int], own_seconds: float, seconds: float) -> float:
    """Share of our CPUs that other programs used: `busy` (percent per CPU) on the CPUs in `ours`, minus the CPU time of this
    process."""
    seen = [busy[cpu] for cpu in ours if cpu < len(busy)] or busy  # some containers renumber CPUs
    return max(0.0, sum(seen) / len(seen) / 100 - own_seconds / (seconds * len(seen)))


@contextmanager
def watch_others() -> Iterator[Callable[[], float]]:
    """Yields a function that returns the share of our CPUs, 0 to 1, used by other programs since entering."""
    before, started, own = psutil.cpu_times(percpu=True), time.perf_counter(), _own_cpu_seconds()

    def share() -> float:
        seconds = time.perf_counter() - started
        busy = [_busy_percent(a, b) for a, b in zip(before, psutil.cpu_times(percpu=True))]
        return share_of_others(busy, affinity(), _own_cpu_seconds() - own, seconds)

    yield share


def _busy_percent(before: Any, after: Any) -> float:
    spent = {name: getattr(after, name) - getattr(before, name) for name in after._fields if name not in ("guest", "guest_nice")}
    idle = spent["idle"] + spent.get("iowait", 0.0)
    return 100 * (1 - idle / total) if (total := sum(spent.values())) > 0 else 0.0


def _own_cpu_seconds() -> float:
    times = psutil.Process().cpu_times()
    return float(times.user + times.system)


def measure_others(seconds: float = 0.3) -> float:
    """Share of our CPUs, 0 to 1, used by other programs now; measures for `seconds`."""
    with watch_others() as share:
        time.sleep(seconds)
        return share()


def busy_warning(others: float) -> str:
    """A warning about a busy machine for readers of estimates; empty below BUSY_SHARE."""
    if others < BUSY_SHARE:
        return ""
    return f"Other programs take {others:.0%} of the processors now. Estimates assume an idle machine: expect longer times."
