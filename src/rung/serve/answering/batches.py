"""Requests under way: free text in the running batch of its model, all else in groups of one model, decoding and rights.

`Batches` takes jobs and sees to it that each is answered or fails; nothing else knows how.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from rung.lm.base import RunningBatch
from rung.rows import Example
from rung.serve.answering.asks import Ask, grouped
from rung.serve.answering.failures import failure
from rung.serve.answering.job import Job, Outcome
from rung.serve.answering.joining import begin, running, warm_front
from rung.serve.answering.label_logprobs import with_label_logprobs
from rung.serve.answering.models import Served
from rung.serve.answering.predicted import predicted
from rung.serve.answering.writing import written
from rung.serve.endpoints.refused import Refused

log = logging.getLogger("rung.serve")

BESIDE = 8
"""Answers of a group that are given at once while a running batch waits for them."""


class Batches:
    """The jobs that are under way."""

    def __init__(self) -> None:
        self._jobs: list[Job] = []
        self._groups: deque[Sequence[Ask]] = deque()
        self._running: list[RunningBatch] = []

    def __len__(self) -> int:
        """Answers that are wanted and not there yet."""
        return sum(job.chat.n for job in self._jobs)

    def step(self, jobs: Sequence[Job] = ()) -> int:
        """Take up jobs, write one token of each answer in a running batch, and answer a group. Returns how many jobs ended."""
        self._jobs += jobs
        for job in jobs:
            job.reached("taken")
        for group in grouped([job for job in jobs if job.live]):
            self._take_up(group)
        for batch in self._running:
            batch.step()
        self._running = [batch for batch in self._running if len(batch)]
        if self._groups:
            self._next_group()
        return self._count_ended()

    def fail(self, why: Refused) -> int:
        """Fail all that is under way; how many jobs that are."""
        for job in self._jobs:
            job.fail(why)
        self._groups.clear()
        return self._count_ended()

    def _take_up(self, group: Sequence[Ask]) -> None:
        """Have asks of one model join its running batch, or wait as a group. Where they fail together each is tried alone."""
        served = group[0].job.served
        try:
            batch = running(served)
            if batch is None or (served.predictor and served.predictor.lookup):
                self._groups.append(group)
            else:
                self._join(batch, group)
        except Exception as error:
            self._apart(group, error, self._take_up)

    def _join(self, batch: RunningBatch, group: Sequence[Ask]) -> None:
        if batch not in self._running:
            self._running.append(batch)
        begin(batch, group)

    def _next_group(self) -> None:
        """Answer the group that waits longest, or have it join its batch; a part of it while answers are being written, which
        wait for it."""
        group = [ask for ask in self._groups.popleft() if ask.job.live]
        if self._running and len(group) > BESIDE:
            self._groups.appendleft(group[BESIDE:])
            group = group[:BESIDE]
        if group:
            self._answer(group)

    def _answer(self, group: Sequence[Ask]) -> None:
        try:
            batch = running(group[0].job.served)
            if batch is None:
                self._group(group)
            else:
                self._join(batch, group)
        except Exception as error:
            self._apart(group, error, self._answer)

    def _apart(self, group: Sequence[Ask], error: Exception, again: Callable[[Sequence[Ask]], object]) -> None:
        """What failed together is tried alone, so that one harms no other."""
        if len(group) > 1:
            for ask in group:
                if ask.job.live:
                    again([ask])
        else:
            log.exception("a request failed")
            group[0].job.fail(failure(error))

    def _count_ended(self) -> int:
        before = len(self._jobs)
        self._jobs = [job for job in self._jobs if not job.ended]
        return before - len(self._jobs)

    def _group(self, asks: Sequence[Ask]) -> None:
        """Answer asks of one model alike."""
        for ask, outcome in zip(asks, answered(asks)):
            if isinstance(outcome, Refused):
                ask.job.fail(outcome)
            else:
                ask.job.put(ask.index, outcome)


def answered(asks: Sequence[Ask]) -> list[Outcome | Refused]:
    """The outcomes of asks of one model, decoding and rights."""
    served = asks[0].job.served
    predictor = served.predictor
    if served.writes and (predictor is None or not (predictor.lookup or predictor.thinking or predictor.cascade)):
        return written(served, asks)
    assert predictor, "an untouched base writes"
    rows = [ask.job.chat.example for ask in asks]
    batched = replace(predictor, decoding=asks[0].decoding)
    found = batched.predict(rows, served.engines, allow=asks[0].job.allow)
    outcomes = [predicted(served, one, ask) for one, ask in zip(found, asks)]
    return with_label_logprobs(served, predictor, asks, outcomes) if predictor.labels else outcomes


def warm(served: Served) -> None:
    """Answer a row of one letter, so that the first request finds the front of its prompt computed."""
    assert served.predictor, "a task's own Predictor is warmed"
    batch = running(served)
    if batch is None:
        served.predictor.predict([Example("x", "")], served.engines)
    else:
        warm_front(served, batch)
