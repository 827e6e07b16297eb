"""Full fine-tuning: train every weight of the base on the examples. https://arxiv.org/abs/1801.06146"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from rung.machine import Machine
from rung.methods import tuning
from rung.methods.base import Family, MetricUse, Run
from rung.methods.estimate import CostEstimate
from rung.methods.facts import Facts
from rung.methods.option import Rate, Weight
from rung.methods.shared_options import AnswerOptions
from rung.predictor import Predictor
from rung.types import Need, TrainData


@dataclass(frozen=True, kw_only=True)
class Full(AnswerOptions):
    name: ClassVar[str] = "full"
    family: ClassVar[Family] = Family.FULL
    needs: ClassVar[frozenset[Need]] = frozenset({Need.EXAMPLES, Need.OPEN_WEIGHTS})
    fit_version: ClassVar[int] = 4
    metric_use: ClassVar[MetricUse] = MetricUse.EARLY_STOPPING

    learning_rate: Rate = 1e-4
    """Highest step size. About a tenth of LoRA's."""
    weight_decay: Weight = 0.0
    """AdamW's weight decay."""

    def estimate(self, start: CostEstimate, facts: Facts, machine: Machine) -> CostEstimate:
        load = self.load(1.0)
        return tuning.training_estimate(start, facts, machine, load)

    def fit(self, start: Predictor, data: TrainData, run: Run) -> Predictor:

        # a model that is trained on the labels need not be shown them
        start = replace(start, show_labels=False)
        loaded = tuning.open_model(start, run, whole=True)
        mixed = tuning.widened(loaded, run)
        plan = self.plan(run, self.learning_rate, weight_decay=self.weight_decay, mixed=mixed)
        history = tuning.on_examples(loaded, start, data, plan, run)
        return tuning.keep_weights(loaded, start, history, run)
