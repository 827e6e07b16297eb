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
from rung.methods.shared_options import EpochOptions
from rung.predictor import Demos, Predictor, folder_digest
from rung.types import Example, Need, TrainData

if TYPE_CHECKING:
    from collections.abc import Callable

    from rung.lm.models.load import Loaded


SMALL = 50_000_000
"""Parameters under which an encoder is small."""

RATES = {True: 5e-4, False: 5e-5}
"""Learning rate of a small encoder, found by search (`benchmarks/peft_search.py`), and of a larger one, from the literature."""


@dataclass(frozen=True, kw_only=True)
class EncoderFull(EpochOptions):
    name: ClassVar[str] = "encoder-full"
    family: ClassVar[Family] = Family.ENCODER
    needs: ClassVar[frozenset[Need]] = frozenset({Need.EXAMPLES, Need.LABELS})
    own_model: ClassVar[bool] = True
    checkpoints: ClassVar[bool] = True
    fit_version: ClassVar[int] = 2
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
            memory_bytes=tuning.memory(size, 1.0, self.tokens),
        )

    def fit(self, start: Predictor, data: TrainData, run: Run) -> Predictor:
        from rung.lm.training import classifier, train

        named = self.model or start.encoder
        found = run.engines.find(named)
        rows, held = tuning.held_back(start, data, self.patience, run)
        labels = sorted({example.output for example in data.examples})
        loaded = classifier.with_new_head(found.folder, labels, run.engines.machine, run.seed)
        items, loss = classifier.items(loaded.chat.tokenizer.pad_token_id)
        texts = classifier.tokenize(loaded, [row.input for row in rows])
        table = loaded.model.get_input_embeddings().weight.numel()
        small = sum(p.numel() for p in loaded.model.parameters()) - table < SMALL
        plan = self.plan(run, self.learning_rate or RATES[small], weight_decay=self.weight_decay)
        history = train.run(
            loaded,
            [classifier.Labelled(text, labels.index(row.output)) for text, row in zip(texts, rows)],
            plan,
            run.folder / "work",
            loss=loss,
            items=items,
            validate=_held(loaded, held, run) if held else None,
            watch=tuning.watch(run),
        )
        files = run.folder / "model"
        classifier.save(loaded, files)
        run.notes.update(train.notes(loaded.model, history))
        run.notes["rows_cut"] = classifier.count_truncated(loaded, [row.input for row in rows])
        ref = ModelRef("classifier", named, found.digest, str(files), folder_digest(files))
        return replace(start, model=ref, demos=Demos())


def _held(loaded: Loaded, rows: list[Example], run: Run) -> Callable[[], float]:
    """The task's metric on held-back rows, answered by the encoder in training."""
    from rung.lm.training import classifier

    engine: Any = classifier.engine(loaded)
    prompts = [Prompt((), row.input) for row in rows]

    def score() -> float:
        choices = engine.choose(prompts, engine.labels)
        return sum(run.reward(choice.label, row) for choice, row in zip(choices, rows)) / len(rows)

    return score
