"""Answers from documents in a running batch: a follow-up is rewritten, passages are looked up, the answer is written and checked.

Each stage that writes joins the batch, so the streams of others go on. Between two of its steps the passages of a few questions
at most are looked up.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from rung.lm.base import Completion, Decoding, Prompt, RunningBatch, Writing
from rung.predictor import Predictor
from rung.retrieve import rewrite
from rung.serve.answering.asks import Ask
from rung.serve.answering.failures import failure
from rung.serve.answering.predicted import predicted
from rung.serve.endpoints.refused import Refused
from rung.types import Prediction, Source

log = logging.getLogger("rung.serve")


def begin(batch: RunningBatch, predictor: Predictor, asks: Sequence[Ask]) -> None:
    """Have asks of one model and the same rights join its running batch."""
    alone = [ask for ask in asks if not rewrite.follows(ask.job.chat.example)]
    for ask in asks:
        if ask not in alone:
            searched = partial(_search, batch, predictor, ask)
            batch.join(_writing(ask, rewrite.prompt(ask.job.chat.example), rewrite.DECODING, searched))
    if alone:
        _look_up(batch, predictor, alone, [ask.job.chat.example.input for ask in alone])


def _search(batch: RunningBatch, predictor: Predictor, ask: Ask, found: Completion) -> None:
    """Look up the passages of a question that was rewritten."""
    if ask.job.live:
        _look_up(batch, predictor, [ask], [rewrite.checked(ask.job.chat.example, found.text)])


def _look_up(batch: RunningBatch, predictor: Predictor, asks: Sequence[Ask], questions: Sequence[str]) -> None:
    engines = asks[0].job.served.engines
    engine, examples = engines.open(predictor.model), [ask.job.chat.example for ask in asks]
    for ask in asks:
        ask.job.reached("searched")
    found = predictor.look_up(questions, engines, asks[0].job.allow)
    prompts = predictor.prompts(examples, engines, [one.sources for one in found])
    for ask, prompt, one in zip(asks, prompts, found):
        ask.job.reached("found")
        if refused := predictor.unasked(engine, prompt, 1, one):
            _put(predictor, ask, refused, one.sources)
            continue

        def done(written: Completion, ask: Ask = ask, sources: tuple[Source, ...] = one.sources) -> None:
            _put(predictor, ask, predictor.written(written), sources)

        batch.join(replace(_writing(ask, prompt, ask.decoding, done), heard=partial(_first, ask)))
        ask.job.reached("joined")


def _first(ask: Ask, text: Callable[[], str]) -> bool:
    ask.job.reached("first")
    return True


def _put(predictor: Predictor, ask: Ask, found: Prediction, sources: tuple[Source, ...]) -> None:
    if not ask.job.live:
        return
    outcome = predicted(ask.job.served, predictor.grounded(found, sources, ask.job.chat.example), ask)
    if isinstance(outcome, Refused):
        ask.job.fail(outcome)
    else:
        ask.job.put(ask.index, outcome)


def _writing(ask: Ask, prompt: Prompt, decoding: Decoding, done: Callable[[Completion], object]) -> Writing:
    def failed(error: Exception) -> None:
        ask.job.fail(failure(error))

    def guarded(found: Completion) -> None:
        """What fails behind an answer is this request's failure, not the batch's."""
        try:
            done(found)
        except Exception as error:
            log.exception("a request failed")
            failed(error)

    return Writing(prompt, decoding, guarded, failed, wanted=lambda: ask.job.live, scope=ask.job.tenant)
