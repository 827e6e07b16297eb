"""A running batch whose answers a backend writes; what the backend cannot do joins the batch of rung's own engine."""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from rung import calls
from rung.lm.backends.base import Asked, Backend, End
from rung.lm.base import Completion, RunningBatch, Writing

WAIT = 0.05
"""Seconds that a step waits for the next piece: about a token of a small model, since waking up costs processor time too."""


@dataclass(eq=False)
class _UnderWay:
    """One answer, as the thread that calls `step` sees it."""

    writing: Writing
    asked: Asked
    pieces: list[str] = field(default_factory=list)
    ended: bool = False
    """Nobody wants more: the backend stops at its next piece."""

    @property
    def text(self) -> str:
        return "".join(self.pieces).strip()


_Event = tuple[_UnderWay, str | End | Exception]


class BackendBatch:
    """Answers that a backend writes, each followed by a thread of its own; only `step` calls those who follow them."""

    def __init__(
        self,
        backend: Backend,
        asked: Callable[[Writing], Asked | None],
        own: Callable[[], RunningBatch | None],
    ):
        """`asked`: what the backend is asked, None for what it cannot do; DataError for a prompt that is too long. `own`: the
        batch of rung's own engine, opened when it is first needed.
        """
        self.backend, self._asked, self._own = backend, asked, own
        self._events: queue.SimpleQueue[_Event] = queue.SimpleQueue()
        self._waiting: deque[_UnderWay] = deque()
        self._writing: list[_UnderWay] = []
        self._beside: RunningBatch | None = None
        self._threads = ThreadPoolExecutor(backend.together, "backend")

    def __len__(self) -> int:
        return len(self._waiting) + len(self._writing) + (len(self._beside) if self._beside else 0)

    def join(self, writing: Writing) -> None:
        """As in `RunningBatch`."""
        if asked := self._asked(writing):
            self._waiting.append(_UnderWay(writing, asked))
            return
        if self._beside is None:
            self._beside = self._own()
        assert self._beside is not None, "a backend stands in for engines that have a running batch"
        self._beside.join(writing)

    def step(self) -> None:
        """Pass on what was written since the last step; where nothing was, wait for it for a moment."""
        self._drop_unwanted()
        while self._waiting and len(self._writing) < self.backend.together:
            one = self._waiting.popleft()
            self._writing.append(one)
            self._threads.submit(self._follow, one)
        wait = WAIT if self._writing else 0.0
        if self._beside is not None and len(self._beside):
            self._beside.step()
            wait = 0.0
        try:
            event = self._events.get(timeout=wait)
            while True:
                self._take(*event)
                event = self._events.get_nowait()
        except queue.Empty:
            return

    def _follow(self, one: _UnderWay) -> None:
        """In a thread of the pool: have the backend write an answer."""

        def heard(piece: str) -> bool:
            self._events.put((one, piece))
            return not one.ended

        try:
            self._events.put((one, self.backend.write(one.asked, heard)))
        except Exception as error:
            self._events.put((one, error))

    def _take(self, one: _UnderWay, event: str | End | Exception) -> None:
        if isinstance(event, str):
            if not one.ended:
                one.pieces.append(event)
                self._heard(one)
            return
        self._writing.remove(one)
        if one.ended:
            return
        if isinstance(event, End):
            one.writing.done(self._completion(one, event))
        else:
            one.writing.failed(event)

    def _heard(self, one: _UnderWay) -> None:
        try:
            more = one.writing.heard(lambda: one.text)
        except Exception as error:
            one.ended = True
            one.writing.failed(error)
            return
        if not more:
            self._cut(one)

    def _drop_unwanted(self) -> None:
        for one in [one for one in self._writing if not one.ended and not one.writing.wanted()]:
            self._cut(one)
        for one in [one for one in self._waiting if not one.writing.wanted()]:
            self._waiting.remove(one)
            self._cut(one)

    def _cut(self, one: _UnderWay) -> None:
        """End an answer where it is. The backend stops at its next piece; until then its place is taken."""
        one.ended = True
        one.writing.done(self._completion(one, End(False, len(one.pieces))))

    def _completion(self, one: _UnderWay, end: End) -> Completion:
        text = calls.normalise_output(one.text) if one.asked.decoding.calls else one.text
        return Completion(text, len(one.asked.ids), end.tokens, end.finished, end.cached)
