"""Free text, streamed to those who want it while it is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rung.lm.base import Completion, Engine, Prompt, Streams, StreamsTogether, TokenLogprob
from rung.serve.answering.asks import Ask
from rung.serve.answering.failures import too_long
from rung.serve.answering.job import Outcome, Piece
from rung.serve.answering.models import Served
from rung.serve.answering.tool_calls import calls_tools, with_calls
from rung.serve.endpoints.refused import Refused


def written(served: Served, asks: Sequence[Ask]) -> list[Outcome | Refused]:
    """Free text, streamed to those who want it while it is written."""
    engine = served.engines.open(served.model)
    prompts = prompts_of(served, asks)
    out: list[Outcome | Refused] = [Refused(500, "nothing was answered.")] * len(asks)
    fits = []
    for k, prompt in enumerate(prompts):
        if asks[k].job.chat.logprobs is not None:
            out[k] = Refused(400, "'logprobs' are not given by this model's engine.", param="logprobs", code="unsupported_value")
        elif (size := engine.count(prompt)) + 1 > engine.context:
            out[k] = too_long(size, engine.context)
        else:
            fits.append(k)
    if fits:
        done = _completed(engine, [prompts[k] for k in fits], [asks[k] for k in fits])
        for k, outcome in zip(fits, done):
            out[k] = outcome
    return out


def prompts_of(served: Served, asks: Sequence[Ask]) -> list[Prompt]:
    """What the model is asked."""
    chats = [ask.job.chat for ask in asks]
    if served.predictor:
        return served.predictor.prompts([chat.example for chat in chats], served.engines)
    return [chat.prompt for chat in chats]


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
        self.whole = calls_tools(ask.job.served, ask.job.chat)
        """Calls are read from the whole answer, so none of it is passed on before."""

    def heard(self, text: Callable[[], str]) -> bool:
        """Whether to go on after another token. `text` reads the answer so far."""
        self.ask.job.reached("first")
        if not self.ask.job.live:
            return False
        if not (self.stops or (self.ask.job.chat.stream and not self.whole)):
            return True
        so_far, self.stopped = until(text(), self.stops)
        if not self.stopped and not self.whole:
            self._say(so_far[: len(so_far) - self.back])
        return not self.stopped

    def end(self, found: Completion) -> Outcome | Refused:
        """The whole answer; what of it was not passed on yet is now."""
        if found.error:
            return Refused(400 if found.final else 502, found.error, code="model_error")
        text, stopped = until(found.text, self.stops)
        finish = "stop" if stopped or found.finished else "length"
        noted = _until(found.logprobs, text) if stopped else found.logprobs
        outcome = Outcome(text, finish, found.tokens_in, found.tokens_out, found.tokens_cached, logprobs=noted)
        outcome = with_calls(self.ask.job.served, self.ask.job.chat, outcome)
        self._say(outcome.content or "")
        return outcome

    def _say(self, text: str) -> None:
        job, index = self.ask.job, self.ask.index
        if job.chat.stream and len(text) > job.said[index] and job.live:
            job.tell(Piece(index, text[job.said[index] :]))
            job.said[index] = len(text)


def until(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """The text before the first stop text in it, and whether there is one."""
    found = [at for stop in stops if (at := text.find(stop)) >= 0]
    return (text[: min(found)], True) if found else (text, False)


def _until(tokens: Sequence[TokenLogprob], text: str) -> tuple[TokenLogprob, ...]:
    """The tokens that a text, which was cut before a stop text, takes."""
    out: list[TokenLogprob] = []
    while len("".join(one.text for one in out).lstrip()) < len(text) and len(out) < len(tokens):
        out.append(tokens[len(out)])
    return tuple(out)
