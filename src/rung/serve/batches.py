"""Requests that wait are answered together: those of one model, one decoding and one asker's rights in one batch.

`Batches` takes jobs and sees to it that each is answered or fails; nothing else knows how.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from rung.serve.asks import Ask, grouped
from rung.serve.failures import failure
from rung.serve.job import Job, Outcome
from rung.serve.label_logprobs import with_label_logprobs
from rung.serve.predicted import predicted
from rung.serve.refused import Refused
from rung.serve.writing import written

log = logging.getLogger("rung.serve")


class Batches:
    """Answers jobs, all that are given together."""

    def answer(self, jobs: Sequence[Job]) -> None:
        """Answer each job or fail it. One that nobody waits for any more is left out."""
        for group in grouped([job for job in jobs if job.live]):
            self._group(group)

    def _group(self, asks: Sequence[Ask]) -> None:
        """Answer asks of one model alike. Where they fail together each is asked alone, so that one harms no other."""
        try:
            for ask, outcome in zip(asks, answered(asks)):
                if isinstance(outcome, Refused):
                    ask.job.fail(outcome)
                else:
                    ask.job.put(ask.index, outcome)
        except Exception as error:
            if len(asks) > 1:
                for ask in asks:
                    if ask.job.live:
                        self._group([ask])
            else:
                log.exception("a request failed")
                asks[0].job.fail(failure(error))


def answered(asks: Sequence[Ask]) -> list[Outcome | Refused]:
    """The outcomes of asks of one model, decoding and rights."""
    served = asks[0].job.served
    predictor = served.predictor
    if served.writes and (predictor is None or not (predictor.lookup or predictor.thinking)):
        return written(served, asks)
    assert predictor, "an untouched base writes"
    rows = [ask.job.chat.example for ask in asks]
    told = replace(predictor, decoding=asks[0].decoding)
    found = told.predict(rows, served.engines, allow=asks[0].job.allow)
    outcomes = [predicted(served, one, ask) for one, ask in zip(found, asks)]
    return with_label_logprobs(served, predictor, asks, outcomes) if predictor.labels else outcomes
