"""QLoRA: LoRA beside base weights rounded to 4 bits, for bases that fill a GPU. https://arxiv.org/abs/2305.14314"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from rung.machine import BYTES, Machine
from rung.methods import tuning
from rung.methods.base import Family, Method, MetricUse, Run
from rung.methods.estimate import CostEstimate
from rung.methods.facts import Facts
from rung.methods.option import Count, Natural, Rate, Share
from rung.predictor import Predictor
from rung.types import Need, TrainData

WEIGHT_BYTES = 0.6
"""Of a weight: 4 bits, about half a bit for their scale, and a share of the embeddings, which stay as they were."""


@dataclass(frozen=True, kw_only=True)
class QLora(Method):
    name: ClassVar[str] = "qlora"
    family: ClassVar[Family] = Family.ADAPTERS
    needs: ClassVar[frozenset[Need]] = frozenset({Need.EXAMPLES, Need.OPEN_WEIGHTS, Need.GPU})
    fit_version: ClassVar[int] = 2
    metric_use: ClassVar[MetricUse] = MetricUse.EARLY_STOPPING

    rank: Count = 16
    """Width of the adapters. More fits more, and overfits sooner."""
    alpha: Count = 32
    """Scale of the adapters' output, as alpha / rank."""
    dropout: Share = 0.0
    """Share of the adapters' inputs dropped in training."""
    learning_rate: Rate = 2e-4
    """Highest step size. The larger the base, the smaller."""
    epochs: Count = 4
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
        found = tuning.training_estimate(start, facts, machine, load)
        return replace(found, memory_bytes=found.memory_bytes - round((BYTES[machine.dtype] - WEIGHT_BYTES) * facts.parameters))

    def fit(self, start: Predictor, data: TrainData, run: Run) -> Predictor:
        from rung.lm.models import adapters
        from rung.lm.training import train

        # a model that is trained on the labels need not read them each time
        start = replace(start, show_labels=False)
        loaded = tuning.open_model(start, run, four_bit=True)
        loaded = replace(loaded, model=adapters.lora(loaded.model, self.rank, self.alpha, self.dropout, run.seed))
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
