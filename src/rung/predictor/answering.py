"""Answering rows."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rung import calls, label_sets
from rung.lm.base import Choice, Completion, Engine, Progress, Prompt, Streams
from rung.lm.engine_kinds import can
from rung.lm.engines import Engines
from rung.lm.inference import thinking
from rung.predictor import sure
from rung.predictor.prompts import PromptMaker
from rung.retrieve import ground
from rung.retrieve.lookup import Retrieved
from rung.retrieve.store import Allow
from rung.types import Example, Prediction, Source

CHUNK = 64
"""Rows answered between progress reports; answers are stored after each chunk."""


@dataclass(frozen=True, kw_only=True)
class Predictor(PromptMaker):
    """Frozen data that says how a row is answered, and the answering."""

    @property
    def then(self) -> Predictor | None:
        """Who answers what this one is not sure of."""
        if self.cascade is None:
            return None
        assert isinstance(self.cascade.then, Predictor), "a cascade goes on to a whole Predictor"
        return self.cascade.then

    @property
    def alone(self) -> Predictor:
        """This one without the second of its cascade, and without a threshold on the answers of both."""
        return replace(self, cascade=None, threshold=None) if self.cascade else self

    def warm(self, engines: Engines) -> None:
        """Load what answering needs."""
        if then := self.then:
            then.warm(engines)
        engines.open(self.model)
        if self.demos.similar:
            engines.embedder(self.encoder)
        if self.lookup and not self.browses:
            self.retrieve([Example("x", "")], engines)

    def predict(
        self, examples: Sequence[Example], engines: Engines, progress: Progress | None = None, allow: Allow = Allow()
    ) -> list[Prediction]:
        """Answer rows in order. A row that cannot be asked gets an error; the others are answered.

        With passages, a row with weak evidence is not asked, and an answer that no passage supports is withheld. With a
        threshold, an answer of less confidence is a guess. Of a cascade the second answers what the first is not sure of.
        `allow`: the passages that the asker may see.
        """
        if self.cascade:
            both = self._cascaded(examples, engines, progress, allow)
            return [sure.given(one, self.threshold) for one in both]
        started = time.perf_counter()
        engine = engines.open(self.model)
        found = self.retrieve(examples, engines, allow)
        prompts = self.prompts(examples, engines, [one.sources for one in found])
        room = thinking.max_label_tokens(self.labels, engines.chat(self.model)) if self.labels else 1  # a text takes what is left
        if self.thinking:
            room += len(thinking.turn(self.thinking.opening, ""))  # reasoning takes what is left
        shorter = [prompt.left_out for prompt in prompts]
        unasked = [self.unasked(engine, prompt, room, one) for prompt, one in zip(prompts, found)]
        answers = iter(self._ask(engine, [prompt for prompt, refused in zip(prompts, unasked) if not refused], progress))
        out = [refused or next(answers) for refused in unasked]
        seconds = (time.perf_counter() - started) / max(1, len(examples))
        # a cached answer has the seconds it took when it was first computed
        return [
            replace(
                self.grounded(_with_looks(one, seen), seen.sources, row),
                id=row.id,
                seconds=max(one.seconds, seconds),
                left_out=left,
            )
            for row, one, seen, left in zip(examples, out, found, shorter)
        ]

    def _cascaded(
        self, examples: Sequence[Example], engines: Engines, progress: Progress | None, allow: Allow
    ) -> list[Prediction]:
        """Both Predictors' answers joined: the second is asked only what the first is not sure of."""
        assert self.cascade and self.then
        cut = self.cascade.cut
        first = self.alone.predict(examples, engines, progress, allow)
        open_rows = [example for example, one in zip(examples, first) if not sure.is_sure(one, cut)]
        second = iter(self.then.predict(open_rows, engines, None, allow) if open_rows else ())
        return [sure.joined(one, None if sure.is_sure(one, cut) else next(second), cut) for one in first]

    def unasked(self, engine: Engine, prompt: Prompt, room: int, found: Retrieved) -> Prediction | None:
        """The prediction if the model is not asked; None if it is to be asked. `room`: tokens that its answer needs."""
        if found.asked and found.asked[-1].error:
            return Prediction("", "", error=found.asked[-1].error, again=not found.asked[-1].final)
        if self.browses and not self.labels and not found.sources:
            return Prediction("", "", abstained="the model found no passage to answer from")
        if self.lookup and not self.labels and found.evidence < self.lookup.least:
            why = f"the closest passage is too far from the question ({found.evidence:.2f}, at least {self.lookup.least:.2f})"
            return Prediction("", "", abstained=why)
        if (size := engine.count(prompt)) + room > engine.context:
            why = f"prompt of {size} tokens is over the context of {engine.context}, of which its answer needs {room}"
            return Prediction("", "", tokens_in=size, error=why, wrong=True)
        return None

    def grounded(self, prediction: Prediction, sources: tuple[Source, ...], example: Example) -> Prediction:
        """The prediction with its passages; a text is checked against them, and what is under the threshold is withheld."""
        whole = replace(prediction, sources=sources)
        if self.lookup and not (self.labels or prediction.error or prediction.abstained):
            found = self.settled(prediction.output, sources, example)
            whole = replace(prediction, output=found.text, sources=found.sources, abstained=found.abstained)
        return sure.given(whole, self.threshold)

    def written(self, answer: Completion) -> Prediction:
        """A free text that an engine wrote, not checked yet."""
        return _prediction(answer, self._text(answer.text), answer.confidence)

    def settled(self, text: str, sources: Sequence[Source], example: Example) -> ground.Grounded:
        """The answer after checking it against its passages and, if these are screened, against the question."""
        assert self.lookup, "only answers from passages are checked against them"
        return ground.settle(text, sources, ground.asking(example) if self.lookup.screen else "")

    def _ask(self, engine: Engine, prompts: Sequence[Prompt], progress: Progress | None) -> list[Prediction]:
        if not prompts:
            return []
        bias = self.calibration.bias if self.calibration else ()
        if self.thinking:
            found = thinking.think(engine, prompts, self.thinking, self.labels, self.decoding, bias)
            if progress:
                progress(len(prompts))
            return [replace(one, output=self._text(one.output)) for one in map(thinking.prediction, found)]
        if bias:
            return [_prediction(c, c.label, c.confidence) for c in thinking.choose(engine, prompts, self.labels, bias)]
        if self.labels:
            return [_prediction(c, c.label, c.confidence) for c in engine.choose(prompts, self.labels, progress)]
        return [self.written(c) for c in engine.generate(prompts, self.decoding, progress)]

    def _text(self, written: str) -> str:
        """What was written, as an answer: where a row has several labels, those that it names; calls of tools in one form."""
        if self.label_set:
            return label_sets.named(written, self.label_set)
        return calls.written(written) if self.tools else written

    @property
    def streams(self) -> bool:
        """Whether answers can stream. Labels are chosen as a whole, citations are checked first, calls of tools are read from
        the whole answer, and a cascade may ask again."""
        return can(self.model).streams and not (self.labels or self.lookup or self.thinking or self.tools or self.cascade)

    def stream(self, example: Example, engines: Engines) -> Iterator[str]:
        """One answer, piece by piece. Only if `streams`."""
        engine = engines.open(self.model)
        assert isinstance(engine, Streams), "this engine does not stream"
        [prompt] = self.prompts([example], engines)
        yield from engine.stream(prompt, self.decoding)

    def answers(self, engine: Engine, prompts: Sequence[Prompt]) -> list[str]:
        """Answers of another engine to this Predictor's prompts, for a model that is still in training."""
        return [prediction.output for prediction in self._ask(engine, prompts, None)]


def _with_looks(prediction: Prediction, found: Retrieved) -> Prediction:
    """With the tokens of the turns in which the model looked through the documents."""
    return replace(
        prediction,
        tokens_in=prediction.tokens_in + sum(one.tokens_in for one in found.asked),
        tokens_out=prediction.tokens_out + sum(one.tokens_out for one in found.asked),
        tokens_cached=prediction.tokens_cached + sum(one.tokens_cached for one in found.asked),
    )


def _prediction(answer: Choice | Completion, output: str, confidence: float | None = None) -> Prediction:
    return Prediction(
        "",
        output,
        confidence,
        answer.tokens_in,
        answer.tokens_out,
        answer.seconds,
        answer.error,
        answer.tokens_cached,
        again=bool(answer.error) and not answer.final,
    )
