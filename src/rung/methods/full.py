"""Full fine-tuning: train every weight of the base on the examples. https://arxiv.org/abs/1801.06146"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from rung.machine import Machine
from rung.methods import tuning
from rung.methods.base import Family, Method, MetricUse, Run
from rung.methods.estimate import CostEstimate
from rung.methods.facts import Facts
from rung.methods.option import Count, Natural, Rate, Weight
from rung.predictor import Predictor
from rung.types import Need, TrainData


@dataclass(frozen=True, kw_only=True)
class Full(Method):
    name: ClassVar[str] = "full"
    family: ClassVar[Family] = Family.FULL
    needs: ClassVar[frozenset[Need]] = frozenset({Need.EXAMPLES, Need.OPEN_WEIGHTS})
    fit_version: ClassVar[int] = 2
    metric_use: ClassVar[MetricUse] = MetricUse.EARLY_STOPPING

    learning_rate: Rate = 1e-4
    """Highest step size. About a tenth of LoRA's."""
    weight_decay: Weight = 0.0
    """Pull of the weights towards zero, as AdamW has it."""
    epochs: Count = 4
    """Times that each row is seen at most."""
    patience: Natural = 0
    """Stop after so many epochs without a better score on held-back rows; 0 trains all epochs on all rows."""
    batch: Count = 16
    """Rows a step."""
    tokens: Count = 2048
    """Most tokens computed at once, shared ones counted once; less needs less memory."""

    def estimate(self, start: CostEstimate, facts: Facts, machine: Machine) -> CostEstimate:
        load = tuning.TrainingLoad(epochs=self.epochs, batch=self.batch, tokens=self.tokens, trained=1.0, patience=self.patience)
        return tuning.training_estimate(start, facts, machine, load)

    def fit(self, start: Predictor, data: TrainData, run: Run) -> Predictor:
        from rung.lm.training import train

        # a model that is trained on the labels need not read them each time
        start = replace(start, show_labels=False)
        loaded = tuning.open_model(start, run, whole=True)
        mixed = tuning.widened(loaded, run)
        plan = train.Plan(
            learning_rate=self.learning_rate,
            epochs=self.epochs,
            batch=self.batch,
            tokens=self.tokens,
            weight_decay=self.weight_decay,
            patience=self.patience,
            mixed=mixed,
            seed=run.seed,
        )
        history = tuning.on_examples(loaded, start, data, plan, run)
        return tuning.keep_weights(loaded, start, history, run)
