"""Free text that joins the running batch of its model."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from rung.lm.base import Completion, Prompt, RunningBatch, WritesInSteps, Writing
from rung.rows import Example
from rung.serve.answering import from_passages
from rung.serve.answering.asks import Ask
from rung.serve.answering.failures import failure, too_long
from rung.serve.answering.models import Served
from rung.serve.answering.writing import Writer, prompts_of
from rung.serve.endpoints.refused import Refused

log = logging.getLogger("rung.serve")


def running(served: Served) -> RunningBatch | None:
    """The running batch that a model's answers are written in; None where they are given in groups."""
    predictor = served.predictor
    if not served.writes or (predictor and (predictor.thinking or predictor.browses or predictor.cascade)):
        return None
    engine = served.engines.open(served.model)
    return engine.running() if isinstance(engine, WritesInSteps) else None


def begin(batch: RunningBatch, asks: Sequence[Ask]) -> None:
    """Have asks of one model join its running batch. One that cannot fails alone; an error in making prompts is raised before."""
    served = asks[0].job.served
    if served.predictor and served.predictor.lookup:
        from_passages.begin(batch, served.predictor, asks)
        return
    engine = served.engines.open(served.model)
    for ask, prompt in zip(asks, prompts_of(served, asks)):
        try:
            if (size := engine.count(prompt)) + 1 > engine.context:
                ask.job.fail(too_long(size, engine.context))
            elif ask.job.live:
                batch.join(_writing(ask, prompt))
                ask.job.reached("joined")
        except Exception as error:
            log.exception("a request failed")
            ask.job.fail(failure(error))


def warm_front(served: Served, batch: RunningBatch) -> None:
    """Write one token of an answer, so that the front of the model's prompts is computed."""
    assert served.predictor, "an untouched base has no front"
    failed: list[Exception] = []
    [prompt] = served.predictor.prompts([Example("x", "")], served.engines)
    decoding = replace(served.decoding, max_new_tokens=1)
    batch.join(Writing(prompt, decoding, lambda found: None, failed.append))
    while len(batch):
        batch.step()
    if failed:
        raise failed[0]


def _writing(ask: Ask, prompt: Prompt) -> Writing:
    writer = Writer(ask)
    return Writing(
        prompt,
        ask.decoding,
        partial(_end, writer),
        lambda error: ask.job.fail(failure(error)),
        writer.heard,
        lambda: ask.job.live,
        ask.job.tenant,
        ask.job.chat.logprobs,
    )


def _end(writer: Writer, found: Completion) -> None:
    outcome = writer.end(found)
    if isinstance(outcome, Refused):
        writer.ask.job.fail(outcome)
    else:
        writer.ask.job.put(writer.ask.index, outcome)
