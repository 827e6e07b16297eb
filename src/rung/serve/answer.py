"""Requests that wait are answered together: those of one model, one decoding and one asker's rights in one batch.

`Batches` is the place where a batch that requests join and leave at each step would stand: it takes jobs and sees to it that
each is answered or fails, and nothing else knows how.
"""

from __future__ import annotations

import logging
import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rung.errors import DataError, ModelError, RungError, TemplateError
from rung.lm.base import Completion, Decoding, Engine, Prompt, Streams, StreamsTogether
from rung.lm.engine_kinds import can
from rung.rows import UNKNOWN
from rung.serve.job import Job, Outcome, Piece
from rung.serve.models import Served
from rung.serve.refused import Refused
from rung.types import Prediction, Source

log = logging.getLogger("rung.serve")


@dataclass(frozen=True, slots=True)
class Ask:
    """One answer that is wanted."""

    job: Job
    index: int
    """Which of the request's answers."""
    decoding: Decoding


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


def grouped(jobs: Sequence[Job]) -> list[list[Ask]]:
    """The answers that are wanted, in groups that one call can give, in the order that they came in.

    Draws depend on the seed and the prompt alone. With a seed, answer k is drawn with seed + k. Without one, a group draws
    its own, and a prompt that is asked again stands in another group: sampled twice, it may be answered otherwise.
    """
    out: dict[object, list[Ask]] = {}
    seen: Counter[object] = Counter()
    fresh: dict[object, int] = {}
    for job in jobs:
        for index in range(job.chat.n):
            decoding = job.served.decoded(job.chat)
            key: tuple[object, ...] = (job.served.name, job.allow, decoding)
            if job.chat.seed is not None:
                decoding = replace(decoding, seed=job.chat.seed + index)
            elif decoding.temperature > 0:
                again = (*key, job.chat.messages)
                drawn = (*key, seen[again])
                seen[again] += 1
                decoding = replace(decoding, seed=fresh.setdefault(drawn, secrets.randbits(48)))
            out.setdefault((job.served.name, job.allow, decoding), []).append(Ask(job, index, decoding))
    return list(out.values())


def answered(asks: Sequence[Ask]) -> list[Outcome | Refused]:
    """The outcomes of asks of one model, decoding and rights."""
    served = asks[0].job.served
    predictor = served.predictor
    if served.writes and (predictor is None or not (predictor.lookup or predictor.thinking)):
        return _written(served, asks)
    assert predictor, "an untouched base writes"
    rows = [ask.job.chat.example for ask in asks]
    told = replace(predictor, decoding=asks[0].decoding)
    found = told.predict(rows, served.engines, allow=asks[0].job.allow)
    return [_predicted(served, one, ask) for one, ask in zip(found, asks)]


# --- free text ------------------------------------------------------------------------------------------------------


def _written(served: Served, asks: Sequence[Ask]) -> list[Outcome | Refused]:
    """Free text, streamed to those who want it while it is written."""
    engine = served.engines.open(served.model)
    chats = [ask.job.chat for ask in asks]
    if served.predictor:
        prompts = served.predictor.prompts([chat.example for chat in chats], served.engines)
    else:
        prompts = [Prompt(chat.messages, chat.messages[-1].content) for chat in chats]
    out: list[Outcome | Refused] = [Refused(500, "nothing was answered.")] * len(asks)
    fits = []
    for k, prompt in enumerate(prompts):
        if (size := engine.count(prompt)) + 1 > engine.context:
            out[k] = too_long(f"prompt of {size} tokens is over the context of {engine.context}, of which its answer needs 1")
        else:
            fits.append(k)
    if fits:
        done = _completed(engine, [prompts[k] for k in fits], [asks[k] for k in fits])
        for k, outcome in zip(fits, done):
            out[k] = outcome
    return out


def _completed(engine: Engine, prompts: Sequence[Prompt], asks: Sequence[Ask]) -> list[Outcome | Refused]:
    writers = [Writer(ask) for ask in asks]
    if isinstance(engine, StreamsTogether):
        found = engine.stream_together(prompts, asks[0].decoding, lambda k, text: writers[k].heard(text))
    elif len(asks) == 1 and asks[0].job.chat.stream and isinstance(engine, Streams):
        found = [_alone(engine, prompts[0], asks[0], writers[0])]
    else:
        found = engine.generate(prompts, asks[0].decoding)
    return [writer.end(one) for writer, one in zip(writers, found)]


def _alone(engine: Engine, prompt: Prompt, ask: Ask, writer: Writer) -> Completion:
    """One answer of an engine that streams one at a time: a model behind an API."""
    assert isinstance(engine, Streams)
    so_far = ""
    for piece in engine.stream(prompt, ask.decoding):
        so_far += piece
        if not writer.heard(so_far.__str__):
            break
    return Completion(so_far, engine.count(prompt), len(so_far.split()))


class Writer:
    """Follows one answer while it is written: passes its pieces on, and ends it at a stop text or when nobody waits."""

    def __init__(self, ask: Ask):
        self.ask, self.stops = ask, ask.job.chat.stop
        self.back = max(map(len, self.stops), default=1) - 1
        """Characters at the end that may yet be the beginning of a stop text."""
        self.stopped = False

    def heard(self, text: Callable[[], str]) -> bool:
        """Whether to go on after another token. `text` reads the answer so far."""
        if not self.ask.job.live:
            return False
        if not (self.stops or self.ask.job.chat.stream):
            return True
        so_far, self.stopped = until(text(), self.stops)
        if not self.stopped:
            self._say(so_far[: len(so_far) - self.back])
        return not self.stopped

    def end(self, found: Completion) -> Outcome | Refused:
        """The whole answer; what of it was not passed on yet is now."""
        if found.error:
            return Refused(400 if found.final else 502, found.error, code="model_error")
        text, stopped = until(found.text, self.stops)
        self._say(text)
        finish = "stop" if stopped or found.finished else "length"
        return Outcome(text, finish, found.tokens_in, found.tokens_out, found.tokens_cached)

    def _say(self, text: str) -> None:
        job, index = self.ask.job, self.ask.index
        if job.chat.stream and len(text) > job.said[index] and job.live:
            job.tell(Piece(index, text[job.said[index] :]))
            job.said[index] = len(text)


def until(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """The text before the first stop text in it, and whether there is one."""
    found = [at for stop in stops if (at := text.find(stop)) >= 0]
    return (text[: min(found)], True) if found else (text, False)


# --- labels, answers from passages, reasoned answers ------------------------------------------------------------------


def _predicted(served: Served, found: Prediction, ask: Ask) -> Outcome | Refused:
    if found.error:
        return too_long(found.error) if found.wrong else Refused(502, found.error, code="model_error")
    text, stopped = until(found.output or (UNKNOWN if found.abstained else ""), ask.job.chat.stop)
    cut = served.writes and not stopped and not found.abstained and found.tokens_out >= ask.decoding.max_new_tokens
    about: dict[str, object] = {}
    if found.confidence is not None:
        about["confidence"] = found.confidence
    if served.predictor and served.predictor.lookup:
        about |= {
            "abstained": found.abstained or None,
            "citations": [_citation(k, one) for k, one in enumerate(found.sources, 1)],
        }
    if not can(served.model).writes and len(ask.job.chat.messages) > 1:
        about["messages_read"] = 1
    outcome = Outcome(text, "length" if cut else "stop", found.tokens_in, found.tokens_out, found.tokens_cached, about)
    if ask.job.chat.stream and text:
        ask.job.tell(Piece(ask.index, text))
    return outcome


def _citation(number: int, source: Source) -> dict[str, object]:
    """A passage that was looked up; [number] in the text stands for it."""
    return {
        "number": number,
        "document": source.path,
        "section": source.section,
        "where": source.where,
        "text": source.text,
        "cited": source.cited,
    }


# --- what goes wrong --------------------------------------------------------------------------------------------------


def too_long(why: str) -> Refused:
    return Refused(400, f"{why}.", param="messages", code="context_length_exceeded")


def failure(error: Exception) -> Refused:
    """What a client learns of an error: of ours that it is one, of what a user can mend what it says."""
    from rung.lm.out_of_memory import ran_out  # late: it imports torch

    if ran_out(error):
        return Refused(503, "memory ran out over this request.", code="out_of_memory", retry_after=5)
    if isinstance(error, DataError | TemplateError):
        return Refused(400, str(error), param="messages")
    if isinstance(error, ModelError):
        return Refused(502, str(error), code="model_error")
    if isinstance(error, RungError):
        return Refused(500, str(error), code="task_error")
    return Refused(500, "an internal error; the server's log has more.", code="internal_error")
