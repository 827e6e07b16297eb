"""Requests to an endpoint: budget reserved first, retries with backoff and jitter, every answer recorded as it arrives."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from rung.errors import ModelError, RungError
from rung.lm.remote.call_errors import CallError, Refused, RetryableError
from rung.lm.remote.ledger import Ledger, Reservation, Usage
from rung.lm.remote.settings import Endpoint, Settings
from rung.lm.remote.tokens import estimate_text
from rung.lm.remote.wire import Reply, Wire

BACKOFF, MAX_BACKOFF = 0.5, 60.0
"""Seconds: bound of the first wait, doubled with every try, and its maximum. A wait is uniform between 0 and the bound
(full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/)."""

BILLED_TRIES = 3
"""Tries of a request that may be billed each time: no answer, a partial answer, an answer in an unknown format."""
DOUBT_TRIES = 2
"""Failures of a request form that the server has never accepted before another form is tried."""

MAX_RETRY_AFTER = 300.0
"""Longest Retry-After in seconds. A server that asks for more has an exhausted quota, and the work stops."""


@dataclass
class Failures:
    """Failed tries of one question."""

    count: int = 0
    billed: int = 0
    """Of these: those that the provider may have billed."""

    def add(self, trouble: RetryableError) -> None:
        """Count one more."""
        self.count += 1
        self.billed += trouble.billed

    @property
    def tries(self) -> str:
        """The count in words."""
        return f"{self.count} {'try' if self.count == 1 else 'tries'}"


class Client:
    """Sends requests to one endpoint; thread-safe."""

    def __init__(self, endpoint: Endpoint, settings: Settings, ledger: Ledger):
        self.endpoint, self.settings, self.ledger = endpoint, settings, ledger
        self.wire, self.price = Wire(endpoint, settings.timeout_s), endpoint.price(settings.prices)
        self._not_before = 0.0

    def ask(
        self,
        body: dict[str, Any],
        estimate: Usage,
        most: Usage,
        key: str = "",
        stop: threading.Event | None = None,
        doubtful: bool = False,
    ) -> Reply:
        """The answer to a request. CallError if this request fails, ModelError if all would, BudgetError at a limit.

        `estimate`: its tokens, for servers that do not report them. `most`: upper bounds, reserved from the budget.
        `key`: cache key of the answer. `stop`: set when the work is cancelled. `doubtful`: the server may fail because of the
        form of the request; that raises Refused.
        """
        stop, failures, empty = stop or threading.Event(), Failures(), False
        while True:
            self._wait_until_allowed(stop)
            try:
                with self._reserved(most) as reserved:
                    reply = self.wire.send(body)
                    # an empty answer is billed like any other: retried once, then accepted
                    again = not reply.text and reply.finished and not reply.missing and not empty
                    reply = self._settled(reserved, reply, estimate, "" if again else key)
                if not again:
                    return reply
                empty = True
            except RetryableError as trouble:
                failures.add(trouble)
                if doubtful and trouble.status in (500, 501) and failures.count >= DOUBT_TRIES:
                    raise Refused(f"{trouble.what}, {failures.tries}", where=self.endpoint.url) from None
                self._wait(trouble, failures, stop)

    def stream(self, body: dict[str, Any], estimate: Usage, most: Usage, key: str = "") -> Generator[str, None, Reply]:
        """The answer piece by piece, then whole. Retries until the first piece; a later interruption is a ModelError."""
        failures, stop, started = Failures(), threading.Event(), False
        while True:
            self._wait_until_allowed(stop)
            try:
                with self._reserved(most) as reserved:
                    for piece in self.wire.stream(body):
                        if isinstance(piece, Reply):
                            return self._settled(reserved, piece, estimate, key)
                        started = True
                        yield piece
            except RetryableError as trouble:
                if started:
                    raise ModelError(f"the answer was interrupted: {trouble.what}.", where=self.endpoint.url) from None
                failures.add(trouble)
                if trouble.status in (500, 501) and "stream_options" in body and failures.count >= DOUBT_TRIES:
                    raise Refused(f"{trouble.what}, {failures.tries}", where=self.endpoint.url) from None
                self._wait(trouble, failures, stop)

    @contextmanager
    def _reserved(self, most: Usage) -> Iterator[Reservation]:
        """A request's reservation. If the request fails, it is released, or kept as unsure if it may have been billed."""
        usd = self.price.usd(most.tokens_in, most.tokens_out) if self.price else None
        reserved = self.ledger.reserve(most.tokens_in + most.tokens_out, usd)
        try:
            yield reserved
        except RetryableError as trouble:
            (self.ledger.mark_unsure if trouble.billed else self.ledger.release)(reserved)
            raise
        except RungError:
            self.ledger.release(reserved)
            raise
        except BaseException:  # cancelled, by Ctrl-C or by the reader of a stream
            self.ledger.mark_unsure(reserved)
            raise

    def _settled(self, reserved: Reservation, reply: Reply, estimate: Usage, key: str) -> Reply:
        usage = reply.usage or Usage(estimate.tokens_in, max(1, estimate_text(reply.text)), estimated=True)
        reply = replace(reply, usage=usage)
        self.ledger.settle(reserved, usage, self.price, key, asdict(reply))
        return reply

    def _wait_until_allowed(self, stop: threading.Event) -> None:
        """Wait as long as the server has asked all requests to wait."""
        stop.wait(max(0.0, min(self._not_before - time.monotonic(), self.ledger.seconds_left)))
        if stop.is_set():
            raise CallError("the work was stopped.")

    def _wait(self, trouble: RetryableError, failures: Failures, stop: threading.Event) -> None:
        """Wait before the next try; raises if there is none."""
        where, tries = self.endpoint.url, failures.tries
        if trouble.after > MAX_RETRY_AFTER:
            raise ModelError(
                f"{trouble.what}; it asks to wait {trouble.after:.0f} s.", where=where, remedy="Try again after that time."
            )
        if failures.count > self.settings.retries or failures.billed >= BILLED_TRIES:
            if trouble.unreachable:
                raise ModelError(f"cannot be reached, {tries}: {trouble.what}.", where=where, remedy="Is the server running?")
            raise CallError(f"failed after {tries}: {trouble.what}.", where=where)
        if trouble.after:
            self._not_before = max(self._not_before, time.monotonic() + trouble.after)
        jitter = random.uniform(0.0, min(MAX_BACKOFF, BACKOFF * 2 ** (failures.count - 1)))
        stop.wait(min(trouble.after + jitter, max(0.0, self.ledger.seconds_left)))


def from_cached(content: dict[str, Any]) -> Reply:
    """A Reply from the ledger's cache."""
    return Reply(
        **{**content, "usage": Usage(**content["usage"]), "tokens": tuple((token, log) for token, log in content["tokens"])}
    )
