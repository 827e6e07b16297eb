"""Encoder-full: a small encoder with a new classification head, all weights trained. https://arxiv.org/abs/1810.04805

Few rows need many epochs and a warmup: https://arxiv.org/abs/2006.04884.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from rung.lm.base import ModelRef, Prompt
from rung.machine import Machine
from rung.methods import tuning
from rung.methods.base import Family, MetricUse, Run
from rung.methods.estimate import CostEstimate
from rung.methods.facts import Facts
from rung.methods.option import Count, Rate, Weight
from rung.methods.other_label import LeftOut, choose_once
from rung.methods.shared_options import AnswerOptions
from rung.predictor import Demos, Predictor, folder_digest
from rung.types import Example, Need, TrainData

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rung.lm.inference.encoder import OtherLabel
    from rung.lm.models.load import Loaded
    from rung.lm.training.train import History


SMALL = 50_000_000
"""Parameters under which an encoder is small."""

RATES = {True: 5e-4, False: 5e-5}
"""Learning rate of a small encoder, found by search (`benchmarks/peft_search.py`), and of a larger one, from the literature."""


@dataclass(frozen=True, kw_only=True)
class EncoderFull(AnswerOptions):
    name: ClassVar[str] = "encoder-full"
    family: ClassVar[Family] = Family.ENCODER
    needs: ClassVar[frozenset[Need]] = frozenset({Need.EXAMPLES, Need.LABELS})
    own_model: ClassVar[bool] = True
    checkpoints: ClassVar[bool] = True
    fit_version: ClassVar[int] = 3
    metric_use: ClassVar[MetricUse] = MetricUse.EARLY_STOPPING

    model: str = ""
    """Hub id or folder of any encoder that transformers can put a classification head on; empty takes the task's `encoder`."""
    learning_rate: Rate | None = None
    """Highest step size; by default 5e-4 for encoders under 50 million parameters (without their table of tokens), else 5e-5."""
    weight_decay: Weight = 0.01
    """AdamW's weight decay."""
    epochs: Count = 10
    """Times that each row is seen at most."""
    tokens: Count = 4096
    """Most tokens computed at once; less needs less memory."""

    def estimate(self, start: CostEstimate, facts: Facts, machine: Machine) -> CostEstimate:
        size, own = facts.encoder_parameters, facts.input_tokens
        training = machine.training_seconds(facts.encoder_computing, 1.0, round(facts.train_rows * own), self.epochs)
        return CostEstimate(
            fit_seconds=start.fit_seconds + training,
            prompt_tokens=0,
            row_seconds=machine.prefill_seconds(facts.encoder_computing, own),
            memory_bytes=tuning.memory(size, 1.0, self.load(1.0).at_once(own, 0.0), machine),
        )

    def fit(self, start: Predictor, data: TrainData, run: Run) -> Predictor:
        from rung.lm.inference.encoder import save_other
        from rung.lm.training import classifier, train

        own = tuple(row for row in data.examples if not start.other or row.output != start.other)
        other = self._other(start, data.examples, run) if start.other else None
        loaded, history = self._trained(start, own, run, "work")
        files = run.folder / "model"
        classifier.save(loaded, files)
        save_other(files, other)
        run.notes.update(train.notes(loaded.model, history))
        run.notes["rows_cut"] = classifier.count_truncated(loaded, [row.input for row in own])
        named = self.model or start.encoder
        ref = ModelRef("classifier", named, run.engines.find(named).digest, str(files), folder_digest(files))
        return replace(start, model=ref, demos=Demos())

    def _trained(self, start: Predictor, examples: tuple[Example, ...], run: Run, place: str) -> tuple[Loaded, History]:
        """The encoder with a new head, trained on these rows; `place`: the folder of its checkpoints in the fit's own."""
        from rung.lm.training import classifier, train

        rows, held = tuning.held_back(start, TrainData(examples), self.patience, run)
        labels = sorted({example.output for example in examples})
        loaded = classifier.with_new_head(
            run.engines.find(self.model or start.encoder).folder, labels, run.engines.machine, run.seed
        )
        items, loss = classifier.items(loaded.chat.tokenizer.pad_token_id)
        texts = classifier.tokenize(loaded, [row.input for row in rows])
        table = loaded.model.get_input_embeddings().weight.numel()
        small = sum(p.numel() for p in loaded.model.parameters()) - table < SMALL
        history = train.run(
            loaded,
            [classifier.Labelled(text, labels.index(row.output)) for text, row in zip(texts, rows)],
            self.plan(run, self.learning_rate or RATES[small], weight_decay=self.weight_decay),
            run.folder / place,
            loss=loss,
            items=items,
            validate=_held(loaded, held, run) if held else None,
            watch=tuning.watch(run),
        )
        return loaded, history

    def _other(self, start: Predictor, rows: Sequence[Example], run: Run) -> OtherLabel | None:
        """When none of the labels is answered: by a training that leaves labels out."""
        from rung.lm.inference.encoder import log_odds
        from rung.lm.training import classifier

        def confidences(part: LeftOut) -> tuple[Any, Any]:
            loaded, _ = self._trained(start, tuple(rows[i] for i in part.learn), run, "work/other")
            known, out = ([rows[i].input for i in some] for some in (part.known, part.out))
            return log_odds(classifier.logits(loaded, known)), log_odds(classifier.logits(loaded, out))

        return choose_once(start.other, rows, confidences, run)


def _held(loaded: Loaded, rows: list[Example], run: Run) -> Callable[[], float]:
    """The task's metric on held-back rows, answered by the encoder in training."""
    from rung.lm.training import classifier

    engine: Any = classifier.engine(loaded)
    prompts = [Prompt((), row.input) for row in rows]

    def score() -> float:
        choices = engine.choose(prompts, engine.labels)
        return sum(run.reward(choice.label, row) for choice, row in zip(choices, rows)) / len(rows)

    return score
