"""The one thread that owns the models: it takes what waits in the line and has it answered."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping

from rung.lm.engine_kinds import can
from rung.serve.answering.batches import Batches, warm
from rung.serve.answering.failures import failure
from rung.serve.answering.job import Job, Line
from rung.serve.answering.models import Served
from rung.serve.endpoints.refused import Refused
from rung.serve.numbers import Numbers

log = logging.getLogger("rung.serve")


class Worker:
    """Opens the models and answers. Models, indexes and tokenizers are used by its thread alone."""

    def __init__(self, models: Mapping[str, Served], line: Line, numbers: Numbers, batches: Batches | None = None):
        self.models, self.line, self.numbers, self.batches = models, line, numbers, batches or Batches()
        self.fault: BaseException | None = None
        self._seconds = 0.0
        """Spent since a request was last finished."""
        self._warm = threading.Event()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    @property
    def ready(self) -> bool:
        """Whether it takes requests."""
        return self._warm.is_set() and self.fault is None and self._thread.is_alive()

    def start(self) -> None:
        """Load the first model; returns once it is ready. Raises what went wrong there."""
        self._thread.start()
        self._warm.wait()
        if self.fault:
            raise self.fault

    def stop(self, seconds: float) -> None:
        """Answer what waits, and end."""
        self.line.close()
        self._thread.join(seconds)

    def _run(self) -> None:
        try:
            first = next(iter(self.models.values()))
            assert first.predictor, "a task's own Predictor comes first"
            first.predictor.warm(first.engines)
            if can(first.model).local:  # the first request then finds the shared front of its prompt computed
                warm(first)
        except BaseException as error:
            self.fault = error
            return
        finally:
            self._warm.set()
        while not self.line.over or len(self.batches):
            self._step(self.line.take(len(self.batches)))
            self._errand()

    def _step(self, jobs: list[Job]) -> None:
        """Take up these jobs, and write the next token of all answers that are under way."""
        if jobs:
            self.numbers.batch(len(jobs))
        started = time.monotonic()
        try:
            ended = self.batches.step(jobs)
        except Exception as error:
            log.exception("a step failed")
            ended = self.batches.fail(failure(error))
        self._seconds += time.monotonic() - started
        if ended:
            self.line.took(self._seconds, ended)
            self._seconds = 0.0

    def _errand(self) -> None:
        """A slice of the errand that waits longest, if one does."""
        if not (errand := self.line.errand()) or not errand.live:
            return
        try:
            if errand.slice():
                self.line.back(errand)
        except Refused as why:
            errand.fail(why)
        except Exception as error:
            log.exception("an errand failed")
            errand.fail(failure(error))
