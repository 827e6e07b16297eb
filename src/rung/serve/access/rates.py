"""What each key may use in a minute: requests and tokens, counted over the last 60 seconds."""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass

from rung.serve.access.keys import Key
from rung.serve.endpoints.refused import Refused

WINDOW = 60.0
"""Seconds over which use is counted."""


@dataclass(eq=False)
class Charge:
    """The use of one request: while it runs the most tokens that it may write, afterwards those that it read and wrote."""

    at: float
    tokens: int


class Rates:
    """Use by key; every method may be called from any thread. Kept in memory: a server that starts anew counts anew."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._lock = threading.Lock()
        self._used: dict[str, deque[Charge]] = defaultdict(deque)

    def admit(self, key: Key | None, tokens: int) -> Charge | None:
        """Charge a request of up to so many tokens. Refused with 429 and the seconds to wait where that is over a limit.

        A request that is over the limit on its own is let through once nothing else was used for a minute: what it will
        write is only known afterwards. None for a key without limits.
        """
        if key is None or not (key.requests_per_minute or key.tokens_per_minute):
            return None
        with self._lock:
            now, used = self._clock(), self._used[key.digest]
            while used and used[0].at <= now - WINDOW:
                used.popleft()
            for name, limit, sizes, more in (
                ("requests", key.requests_per_minute, [1] * len(used), 1),
                ("tokens", key.tokens_per_minute, [one.tokens for one in used], tokens),
            ):
                if limit and used and (over := sum(sizes) + more - limit) > 0:
                    freed = _freed(sizes, over)
                    wait = max(1, math.ceil(used[freed].at + WINDOW - now))
                    why = f"the key {key.name!r} may use {limit} {name} a minute."
                    raise Refused(429, why, code="rate_limit_exceeded", retry_after=wait)
            charge = Charge(now, tokens)
            used.append(charge)
            return charge

    def settle(self, charge: Charge | None, tokens: int) -> None:
        """State what a request has used in the end."""
        if charge:
            charge.tokens = tokens

    def cancel(self, key: Key | None, charge: Charge | None) -> None:
        """Take a charge back: the request was not begun."""
        if key and charge:
            with self._lock:
                if charge in self._used[key.digest]:
                    self._used[key.digest].remove(charge)


def _freed(sizes: list[int], over: int) -> int:
    """The number of the charge after whose end so much is free, or all of it."""
    for k, size in enumerate(sizes):
        over -= size
        if over <= 0:
            return k
    return len(sizes) - 1
