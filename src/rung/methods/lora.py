"""LoRA: train low-rank adapters on the examples while the base weights stay frozen. https://arxiv.org/abs/2106.09685

With other scaling rsLoRA (https://arxiv.org/abs/2312.03732), with lengths trained apart DoRA (https://arxiv.org/abs/2402.09353).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from rung.machine import Machine
from rung.methods import tuning
from rung.methods.base import Family, Method, MetricUse, Run
from rung.methods.estimate import CostEstimate
from rung.methods.facts import Facts
from rung.methods.option import Count, Natural, Rate, Share
from rung.predictor import Predictor
from rung.types import Need, TrainData


@dataclass(frozen=True, kw_only=True)
class Lora(Method):
    name: ClassVar[str] = "lora"
    family: ClassVar[Family] = Family.ADAPTERS
    needs: ClassVar[frozenset[Need]] = frozenset({Need.EXAMPLES, Need.OPEN_WEIGHTS})
    fit_version: ClassVar[int] = 2
    metric_use: ClassVar[MetricUse] = MetricUse.EARLY_STOPPING

    rank: Count = 16
    """Width of the adapters. More fits more, and overfits sooner."""
    alpha: Count = 32
    """Scale of the adapters' output, as alpha / rank."""
    stabilised: bool = False
    """Scale by alpha / sqrt(rank) instead, so that a larger rank does not learn more slowly (rsLoRA)."""
    decomposed: bool = False
    """Train the length of each row of the weights apart from its direction (DoRA). Slower."""
    dropout: Share = 0.0
    """Share of the adapters' inputs dropped in training."""
    learning_rate: Rate = 1e-3
    """Highest step size. About ten times that of full fine-tuning."""
    epochs: Count = 8
    """Times that each row is seen at most."""
    patience: Natural = 0
    """Stop after so many epochs without a better score on held-back rows; 0 trains all epochs on all rows."""
    batch: Count = 16
    """Rows a step."""
    tokens: Count = 2048
    """Most tokens computed at once, shared ones counted once; less needs less memory."""

    def estimate(self, start: CostEstimate, facts: Facts, machine: Machine) -> CostEstimate:
        load = tuning.TrainingLoad(
            epochs=self.epochs, batch=self.batch, tokens=self.tokens, trained=0.002 * self.rank, patience=self.patience
        )
        return tuning.training_estimate(start, facts, machine, load)

    def fit(self, start: Predictor, data: TrainData, run: Run) -> Predictor:
        from rung.lm.models import adapters
        from rung.lm.training import train

        # a model that is trained on the labels need not read them each time
        start = replace(start, show_labels=False)
        loaded = tuning.open_model(start, run)
        shape = (self.rank, self.alpha, self.dropout, run.seed, self.stabilised, self.decomposed)
        loaded = replace(loaded, model=adapters.lora(loaded.model, *shape))
        plan = train.Plan(
            learning_rate=self.learning_rate,
            epochs=self.epochs,
            batch=self.batch,
            tokens=self.tokens,
            patience=self.patience,
            seed=run.seed,
        )
        history = tuning.on_examples(loaded, start, data, plan, run)
        return tuning.keep_adapter(loaded, start, history, run)
