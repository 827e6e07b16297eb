"""The ledger of a task's API calls: cached answers, what was spent, and the hard stop at a limit.

Several processes, and machines with a shared store, may share the entries. Before a request is sent, its maximum cost is
reserved; when its answer arrives, answer and cost are written in one transaction. A process killed in between leaves its
reservation, which still counts: the provider may have billed the request.
"""

from __future__ import annotations

import math
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rung import signed
from rung.errors import BudgetError
from rung.lm.remote.calls import Calls, Spent
from rung.lm.remote.prices import Price
from rung.lm.remote.settings import Limits


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one answer, as the server reports them."""

    tokens_in: int
    tokens_out: int
    tokens_cached: int = 0
    """Of `tokens_in`: served from the provider's prompt cache."""
    estimated: bool = False
    """The server did not report them; they are estimated from the length of the text."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """The reservation of one request in flight."""

    name: str
    tokens: int
    usd: float | None


def signed_text(key: str, answer: dict[str, Any]) -> str:
    """An answer as text, signed under its key."""
    return signed.seal(f"answers/{key}", signed.dumps(answer))


def verified(key: str, content: str) -> tuple[dict[str, Any] | None, str]:
    """A cached answer, and why it is not trusted; empty if it is."""
    return signed.opened(f"answers/{key}", content)


class Ledger:
    """Opened once per process and shared by its threads."""

    def __init__(
        self,
        calls: Calls,
        limits: Limits = Limits(),
        until: Callable[[], float] = lambda: math.inf,
        say: Callable[[str], object] = warnings.warn,
    ):
        """`until`: `time.monotonic()` after which nothing is sent, in addition to the limit in seconds from now.

        `say` reports once if cached answers are not trusted.
        """
        self.calls, self._say, self._said = calls, say, False
        self.limits, self._until = limits, until
        self._end = time.monotonic() + (math.inf if limits.seconds is None else limits.seconds)
        self._lock, self._in_flight = threading.Condition(threading.RLock()), 0

    def cached(self, key: str) -> dict[str, Any] | None:
        """The cached answer of a key, with its original tokens and seconds."""
        with self._lock:
            content = self.calls.answer(key)
        if content is None:
            return None
        value, why = verified(key, content)
        if why and not self._said:
            self._said = True
            self._say(f"{self.calls.place}: an answer {why}. It is asked again, and so are others like it. {signed.TRUST}")
        return None if why else value

    def spent(self) -> Spent:
        """All spending on this task; requests in flight, here or in a killed process, count as unsure."""
        with self._lock:
            return self.calls.spent()

    @property
    def seconds_left(self) -> float:
        """Seconds until the time limit; infinite without one."""
        return min(self._end, self._until()) - time.monotonic()

    def reserve(self, tokens: int, usd: float | None) -> Reservation:
        """Reserve the maximum that one request can take; BudgetError if it could exceed a limit.

        Waits while other requests of this process are in flight: what they do not use may be enough.
        """
        while True:
            with self._lock:
                with self.calls.alone():
                    over = self._over(tokens, usd)
                    if not over:
                        name = self.calls.reserve(tokens, usd)
                        self.calls.add(calls=1)
                if not over:
                    self._in_flight += 1
                    return Reservation(name, tokens, usd)
                if not self._in_flight or over.startswith("calls") or self.seconds_left <= 0:
                    raise BudgetError(
                        f"stopped before the next call, which could exceed the budget: {over}. Spent so far: {self.spent()}.",
                        remedy="Raise the budget in rung.yaml; answers so far are cached and not paid again.",
                    )
                self._lock.wait(timeout=1.0)

    def _over(self, tokens: int, usd: float | None) -> str:
        """The limit that one more call would exceed; empty if none."""
        now, limits = self.spent(), self.limits
        if limits.calls is not None and now.calls + 1 > limits.calls:
            return f"calls are limited to {limits.calls}"
        used = now.tokens_in + now.tokens_out + now.unsure_tokens
        if limits.tokens is not None and used + tokens > limits.tokens:
            return f"tokens are limited to {limits.tokens}, {used} are spent or reserved, and the call may take {tokens}"
        if limits.usd is not None and usd is None:
            return "dollars are limited, and the model's price is not known (set it under `prices`)"
        if limits.usd is not None and usd is not None and now.usd + now.unsure_usd + usd > limits.usd:
            used_usd = now.usd + now.unsure_usd
            return f"dollars are limited to {limits.usd:g}, {used_usd:.6f} are spent or reserved, and the call may take {usd:.6f}"
        return "the time is used up" if self.seconds_left <= 0 else ""

    def settle(
        self, reserved: Reservation, usage: Usage, price: Price | None, key: str = "", answer: dict[str, Any] | None = None
    ) -> None:
        """Record the usage of an answered request, and cache its answer in the same transaction if `key` is given."""
        usd = price.usd(usage.tokens_in, usage.tokens_out, usage.tokens_cached) if price else 0.0
        with self._closing(reserved):
            self.calls.add(
                unpriced=price is None,
                estimated=usage.estimated,
                usd=usd,
                tokens_in=usage.tokens_in,
                tokens_out=usage.tokens_out,
                tokens_cached=usage.tokens_cached,
            )
            if key:
                self.calls.keep(key, signed_text(key, answer or {}))

    def release(self, reserved: Reservation) -> None:
        """The server refused or never received the request: nothing was billed."""
        with self._closing(reserved):
            self.calls.add(failed=1)

    def mark_unsure(self, reserved: Reservation) -> None:
        """No complete answer arrived: it may have been billed, so the reservation still counts."""
        with self._closing(reserved):
            self.calls.add(unsure=1, unsure_tokens=reserved.tokens, unsure_usd=reserved.usd or 0.0)

    @contextmanager
    def _closing(self, reserved: Reservation) -> Iterator[None]:
        with self._lock:
            with self.calls.alone():
                self.calls.end(reserved.name)
                yield
            self._in_flight -= 1
            self._lock.notify_all()
