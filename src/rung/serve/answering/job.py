"""A request on its way: what is asked, what was answered, and the line it waits in."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

from rung.lm.base import TokenLogprob
from rung.retrieve.store import Allow
from rung.serve.answering.models import Served
from rung.serve.endpoints.chat import Chat
from rung.serve.endpoints.refused import Refused


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a tool."""

    id: str
    """By which a later message gives its result."""
    name: str
    arguments: str
    """JSON."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One answer to a request (`n` asks for several)."""

    text: str
    finish: str = "stop"
    """stop, tool_calls, or length where it was cut at the most tokens that it may have."""
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_cached: int = 0
    about: dict[str, Any] = field(default_factory=dict)
    """What goes beyond OpenAI's shape: confidence, citations, why there is no answer."""
    logprobs: tuple[TokenLogprob, ...] = ()
    """Each token of the text with its log-probability, where the request asks for them and the model gives them."""
    calls: tuple[Call, ...] | None = None
    """The calls that the text is, empty where it says that no tool is called; None for any other text."""

    @property
    def content(self) -> str | None:
        """What is said beside the calls: nothing."""
        return self.text if self.calls is None else None if self.calls else ""


@dataclass(frozen=True, slots=True)
class Piece:
    """The next characters of one answer."""

    index: int
    text: str


Event = Piece | list[Outcome] | Refused


@dataclass(eq=False)
class Job:
    """One request. The engine thread answers it; `tell` passes on what there is, from any thread."""

    chat: Chat
    served: Served
    allow: Allow
    tell: Callable[[Event], object]
    deadline: float
    """`time.monotonic()` after which nobody waits for it."""
    tenant: str = ""
    """Whose request it is: nobody else's finds in the cache what it has computed."""
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    said: Counter[int] = field(default_factory=Counter)
    """Characters of each answer that were passed on already: an answer that is written again goes on behind them."""
    gone: bool = False
    """Nobody waits for it any more: the client went, its time is over, or it has failed."""
    times: dict[str, int] = field(default_factory=lambda: {"asked": time.time_ns()})
    """When it reached each stage for the first time, in nanoseconds since 1970."""

    def reached(self, stage: str) -> None:
        """Note the time of a stage: taken, searched, found, joined, first (token), ended."""
        self.times.setdefault(stage, time.time_ns())

    @property
    def live(self) -> bool:
        return not self.gone and time.monotonic() < self.deadline

    @property
    def ended(self) -> bool:
        """Whether nothing is left to do for it."""
        return len(self.outcomes) == self.chat.n or not self.live

    def put(self, index: int, outcome: Outcome) -> None:
        """One of its answers; with the last one it is done."""
        self.outcomes[index] = outcome
        if len(self.outcomes) == self.chat.n and not self.gone:
            self.reached("ended")
            self.tell([self.outcomes[k] for k in range(self.chat.n)])

    def fail(self, why: Refused) -> None:
        if not self.gone:
            self.gone = True
            self.reached("ended")
            self.tell(why)


@dataclass(eq=False)
class Errand:
    """Other work for the engine thread, such as texts to embed. It is done in slices, between which answers go on."""

    slices: Generator[None, None, Any]
    """Each `next` does a part of the work; the result is what it returns."""
    tell: Callable[[Any], object]
    """Receives the result, or a Refused."""
    deadline: float
    """`time.monotonic()` after which nobody waits for it."""
    gone: bool = False

    @property
    def live(self) -> bool:
        return not self.gone and time.monotonic() < self.deadline

    def slice(self) -> bool:
        """Do the next part. Whether there is more to do."""
        try:
            next(self.slices)
        except StopIteration as done:
            self.tell(done.value)
            return False
        return True

    def fail(self, why: Refused) -> None:
        if not self.gone:
            self.gone = True
            self.tell(why)


def telling(loop: asyncio.AbstractEventLoop, events: asyncio.Queue[Any]) -> Callable[[Any], object]:
    """Pass events from the engine thread to a coroutine."""

    def tell(event: Any) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(events.put_nowait, event)

    return tell


class Line:
    """The bounded queue between the event loop and the engine thread."""

    def __init__(self, most: int, together: int):
        """`most`: requests that may wait; `together`: answers that are under way at once."""
        self.most, self.together = most, together
        self._jobs: deque[Job] = deque()
        self._errands: deque[Errand] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._pace: float | None = None
        """Seconds that a request has lately taken, about; None before the first."""

    def __len__(self) -> int:
        return len(self._jobs) + len(self._errands)

    def offer(self, *jobs: Job | Errand) -> None:
        """Put a request's jobs at the end, all or none. Refused with 429 where the line is full, with 503 once it is closed."""
        with self._changed:
            if self._closed:
                raise Refused(503, "the server is shutting down.", code="shutting_down")
            if len(self) >= self.most:
                wait = max(1, min(60, math.ceil(len(self) * (self._pace or 0.0))))
                raise Refused(429, f"{self.most} requests are waiting already.", code="queue_full", retry_after=wait)
            for job in jobs:
                if isinstance(job, Errand):
                    self._errands.append(job)
                else:
                    self._jobs.append(job)
            self._changed.notify()

    def withdraw(self, *jobs: Job | Errand) -> None:
        """Take jobs out: nobody waits for them. One that is being answered ends at its next token."""
        with self._changed:
            for job in jobs:
                job.gone = True
                if isinstance(job, Job) and job in self._jobs:
                    self._jobs.remove(job)
                elif isinstance(job, Errand) and job in self._errands:
                    self._errands.remove(job)

    def errand(self) -> Errand | None:
        """The errand to do a slice of next, if one waits; one that is not done then goes `back`."""
        with self._changed:
            return self._errands.popleft() if self._errands else None

    def back(self, errand: Errand) -> None:
        """Put an errand that is not done behind the others."""
        with self._changed:
            self._errands.append(errand)

    def take(self, busy: int = 0) -> list[Job]:
        """The requests to begin with, beside the `busy` answers that are under way.

        Where none is, it waits for a request, or for an errand, of which it returns none. Whoever takes does a slice of an
        errand after each step. `over` says when to stop.
        """
        with self._changed:
            while not busy and not self._jobs and not self._errands and not self._closed:
                self._changed.wait()
            out: list[Job] = []
            while self._jobs and (not busy or busy + self._jobs[0].chat.n <= self.together):
                out.append(self._jobs.popleft())
                busy += out[-1].chat.n
            return out

    @property
    def over(self) -> bool:
        """Whether the line is closed and nothing waits."""
        with self._changed:
            return self._closed and not self._jobs and not self._errands

    def took(self, seconds: float, jobs: int) -> None:
        """Learn how long requests take, for Retry-After."""
        each = seconds / max(1, jobs)
        self._pace = each if self._pace is None else 0.7 * self._pace + 0.3 * each

    def close(self) -> None:
        """Let no more requests in; those that wait are still answered."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
