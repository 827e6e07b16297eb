"""QLoRA: LoRA beside base weights rounded to 4 bits, for bases that fill a GPU. https://arxiv.org/abs/2305.14314"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from rung.machine import BYTES, Machine
from rung.methods import tuning
from rung.methods.base import Family, MetricUse, Run
from rung.methods.estimate import CostEstimate
from rung.methods.facts import Facts
from rung.methods.option import Part, Rate
from rung.methods.shared_options import AdapterOptions, AnswerOptions
from rung.predictor import Predictor
from rung.types import Need, TrainData

WEIGHT_BYTES = 0.6
"""Bytes per weight: 4 bits, about half a bit for their scale, and a share of the embeddings, which are not rounded."""


@dataclass(frozen=True, kw_only=True)
class QLora(AnswerOptions, AdapterOptions):
    name: ClassVar[str] = "qlora"
    family: ClassVar[Family] = Family.ADAPTERS
    needs: ClassVar[frozenset[Need]] = frozenset({Need.EXAMPLES, Need.OPEN_WEIGHTS, Need.GPU})
    fit_version: ClassVar[int] = 4
    metric_use: ClassVar[MetricUse] = MetricUse.EARLY_STOPPING

    dropout: Part = 0.0
    """Share of the adapters' inputs dropped in training."""
    learning_rate: Rate = 2e-4
    """Highest step size. The larger the base, the smaller."""

    def estimate(self, start: CostEstimate, facts: Facts, machine: Machine) -> CostEstimate:
        load = self.load(0.002 * self.rank)
        found = tuning.training_estimate(start, facts, machine, load)
        return replace(found, memory_bytes=found.memory_bytes - round((BYTES[machine.dtype] - WEIGHT_BYTES) * facts.parameters))

    def fit(self, start: Predictor, data: TrainData, run: Run) -> Predictor:
        from rung.lm.models import adapters

        # a model that is trained on the labels need not be shown them
        start = replace(start, show_labels=False)
        loaded = tuning.open_model(start, run, four_bit=True)
        loaded = replace(loaded, model=adapters.lora(loaded.model, self.rank, self.alpha, self.dropout, run.seed))
        plan = self.plan(run, self.learning_rate)
        history = tuning.on_examples(loaded, start, data, plan, run)
        return tuning.keep_adapter(loaded, start, history, run)
