"""LoRA: train low-rank adapters on the examples while the base weights stay frozen. https://arxiv.org/abs/2106.09685

Scaled by the square root of the rank: rsLoRA (https://arxiv.org/abs/2312.03732). With magnitudes trained separately: DoRA
(https://arxiv.org/abs/2402.09353).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from rung.machine import Machine
from rung.methods import tuning
from rung.methods.base import Family, MetricUse, Run
from rung.methods.estimate import CostEstimate
from rung.methods.facts import Facts
from rung.methods.option import Count, Part, Rate
from rung.methods.shared_options import AdapterOptions, AnswerOptions
from rung.predictor import Predictor
from rung.types import Need, TrainData


@dataclass(frozen=True, kw_only=True)
class Lora(AnswerOptions, AdapterOptions):
    name: ClassVar[str] = "lora"
    family: ClassVar[Family] = Family.ADAPTERS
    needs: ClassVar[frozenset[Need]] = frozenset({Need.EXAMPLES, Need.OPEN_WEIGHTS})
    fit_version: ClassVar[int] = 4
    metric_use: ClassVar[MetricUse] = MetricUse.EARLY_STOPPING
    steady: ClassVar[bool] = True

    stabilised: bool = False
    """Scale by alpha / sqrt(rank) instead, so that a larger rank does not learn more slowly (rsLoRA)."""
    decomposed: bool = False
    """Train the magnitude of each weight row separately from its direction (DoRA). Slower."""
    dropout: Part = 0.0
    """Share of the adapters' inputs dropped in training."""
    learning_rate: Rate = 1e-3
    """Highest step size. About ten times that of full fine-tuning."""
    epochs: Count = 3
    """Times that each row is seen at most."""
    batch: Count = 8
    """Rows a step."""

    @property
    def freezes(self) -> bool:
        return not self.decomposed  # which measures the length of each weight row

    def estimate(self, start: CostEstimate, facts: Facts, machine: Machine) -> CostEstimate:
        load = self.load(0.002 * self.rank)
        return tuning.training_estimate(start, facts, machine, load)

    def fit(self, start: Predictor, data: TrainData, run: Run) -> Predictor:
        from rung.lm.models import adapters

        # a model that is trained on the labels need not be shown them
        start = replace(start, show_labels=False)
        loaded = tuning.open_model(start, run, freezes=self.freezes)
        shape = (self.rank, self.alpha, self.dropout, run.seed, self.stabilised, self.decomposed)
        loaded = replace(loaded, model=adapters.lora(loaded.model, *shape))
        plan = self.plan(run, self.learning_rate)
        history = tuning.on_examples(loaded, start, data, plan, run)
        return tuning.keep_adapter(loaded, start, history, run)
