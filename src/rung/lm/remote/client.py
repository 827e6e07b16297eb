"""Asking an endpoint: budget set aside, tries with backoff and jitter, and every answer booked the moment it is there."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from rung.errors import ModelError, RungError
from rung.lm.remote.ledger import Ledger, Reserved, Usage
from rung.lm.remote.settings import Endpoint, Settings
from rung.lm.remote.tokens import of_text
from rung.lm.remote.wire import CallError, Refused, Reply, RetryableError, Wire

BACKOFF, BACKOFF_MOST = 0.5, 60.0
"""Seconds: the bound of the first wait, doubled with every try, and its end. A wait is drawn evenly from 0 to the bound
(full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/)."""

BILLED_TRIES = 3
"""Times that a request is sent which may have been billed each time: silence, half an answer, an answer in no known shape."""
DOUBT_TRIES = 2
"""Times that a server may fail on a form that it never took before the question is put in another."""

RETRY_AFTER_MOST = 300.0
"""Seconds that a server may ask to be left alone. One that asks for more has a quota used up, and the work stops."""


@dataclass
class Failures:
    """What went wrong with one question so far."""

    count: int = 0
    billed: int = 0
    """Of these: the seller may have charged them."""

    def add(self, trouble: RetryableError) -> None:
        """Count one more."""
        self.count += 1
        self.billed += trouble.billed

    @property
    def tries(self) -> str:
        """The count in words."""
        return f"{self.count} {'try' if self.count == 1 else 'tries'}"


class Client:
    """Asks one endpoint, from many threads at once."""

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
        """The answer to a request. CallError where this one cannot be had, ModelError where none can, BudgetError at a limit.

        `estimate`: its tokens, for servers that do not say. `most`: bounds on them, set aside from the budget.
        `key`: the name to keep the answer under. `stop`: set when the work is given up. `doubtful`: the server may fail
        because of the form of the request, which Refused then says.
        """
        stop, failures, empty = stop or threading.Event(), Failures(), False
        while True:
            self._hold(stop)
            try:
                with self._reserved(most) as reserved:
                    reply = self.wire.send(body)
                    # one that the model wrote as empty is billed like any other: asked for once more, then taken
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
        """The answer piece by piece, then whole. It is tried again until the first piece is out; broken off later, ModelError."""
        failures, stop, said = Failures(), threading.Event(), False
        while True:
            self._hold(stop)
            try:
                with self._reserved(most) as reserved:
                    for piece in self.wire.stream(body):
                        if isinstance(piece, Reply):
                            return self._settled(reserved, piece, estimate, key)
                        said = True
                        yield piece
            except RetryableError as trouble:
                if said:
                    raise ModelError(f"the answer broke off: {trouble.what}.", where=self.endpoint.url) from None
                failures.add(trouble)
                if trouble.status in (500, 501) and "stream_options" in body and failures.count >= DOUBT_TRIES:
                    raise Refused(f"{trouble.what}, {failures.tries}", where=self.endpoint.url) from None
                self._wait(trouble, failures, stop)

    @contextmanager
    def _reserved(self, most: Usage) -> Iterator[Reserved]:
        """One request's reservation; where the request fails, it is closed by what the failure may have cost."""
        usd = self.price.usd(most.tokens_in, most.tokens_out) if self.price else None
        reserved = self.ledger.reserve(most.tokens_in + most.tokens_out, usd)
        try:
            yield reserved
        except RetryableError as trouble:
            (self.ledger.broken_off if trouble.billed else self.ledger.refused)(reserved)
            raise
        except RungError:
            self.ledger.refused(reserved)
            raise
        except BaseException:  # given up on the way, by Ctrl-C or by the reader of a stream
            self.ledger.broken_off(reserved)
            raise

    def _settled(self, reserved: Reserved, reply: Reply, estimate: Usage, key: str) -> Reply:
        usage = reply.usage or Usage(estimate.tokens_in, max(1, of_text(reply.text)), estimated=True)
        reply = replace(reply, usage=usage)
        self.ledger.settle(reserved, usage, self.price, key, asdict(reply))
        return reply

    def _hold(self, stop: threading.Event) -> None:
        """Wait while the server asked all to wait."""
        stop.wait(max(0.0, min(self._not_before - time.monotonic(), self.ledger.seconds_left)))
        if stop.is_set():
            raise CallError("the work was stopped.")

    def _wait(self, trouble: RetryableError, failures: Failures, stop: threading.Event) -> None:
        """Wait before the next try; where there is none, say so."""
        where, tries = self.endpoint.url, failures.tries
        if trouble.after > RETRY_AFTER_MOST:
            raise ModelError(
                f"{trouble.what}; it asks to wait {trouble.after:.0f} s.", where=where, remedy="Try again after that time."
            )
        if failures.count > self.settings.retries or failures.billed >= BILLED_TRIES:
            if trouble.unreachable:
                raise ModelError(f"cannot be reached, {tries}: {trouble.what}.", where=where, remedy="Is the server running?")
            raise CallError(f"failed after {tries}: {trouble.what}.", where=where)
        if trouble.after:
            self._not_before = max(self._not_before, time.monotonic() + trouble.after)
        jitter = random.uniform(0.0, min(BACKOFF_MOST, BACKOFF * 2 ** (failures.count - 1)))
        stop.wait(min(trouble.after + jitter, max(0.0, self.ledger.seconds_left)))


def from_kept(content: dict[str, Any]) -> Reply:
    """A Reply from what the ledger kept of it."""
    return Reply(
        **{**content, "usage": Usage(**content["usage"]), "tokens": tuple((token, log) for token, log in content["tokens"])}
    )
