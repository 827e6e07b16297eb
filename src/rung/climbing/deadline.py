"""The time that a climb or a race of trials may take."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rung.lm.engines import Engines


@contextmanager
def deadline(engines: Engines, minutes: float | None) -> Iterator[float]:
    """The `time.monotonic()` at which work must stop, infinite without a limit. No endpoint is asked after it."""
    engines.until = time.monotonic() + 60 * (minutes or float("inf"))
    try:
        yield engines.until
    finally:
        engines.until = float("inf")
