"""Baseline: no model at all. The majority answer, or the answer of the most similar training input.

It costs nothing and may already be enough; a method that does not beat it is not worth its cost.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from rung.lm.base import ModelRef
from rung.lm.inference.rules import save_rows
from rung.machine import Machine
from rung.methods.base import Family, Method, Run
from rung.methods.estimate import CostEstimate
from rung.methods.facts import Facts
from rung.predictor import Predictor, folder_digest
from rung.types import Need, TrainData


@dataclass(frozen=True, kw_only=True)
class Baseline(Method):
    name: ClassVar[str] = "baseline"
    family: ClassVar[Family] = Family.BASELINE
    needs: ClassVar[frozenset[Need]] = frozenset({Need.EXAMPLES})
    own_model: ClassVar[bool] = True
    fit_version: ClassVar[int] = 1
    folds: ClassVar[int] = 5

    rule: Literal["majority", "nearest"] = "nearest"
    """majority: the most frequent answer; nearest: that of the input with the most similar letters (TF-IDF of 3- to 5-grams)."""

    def estimate(self, start: CostEstimate, facts: Facts, machine: Machine) -> CostEstimate:
        seconds = 0.0 if self.rule == "majority" else 3e-7 * facts.train_rows + 2e-4
        return CostEstimate(prompt_tokens=0, row_seconds=seconds, memory_bytes=4096 * facts.train_rows)

    def fit(self, start: Predictor, data: TrainData, run: Run) -> Predictor:
        files = run.folder / "model"
        files.mkdir()
        save_rows(files, data.examples)
        return replace(start, model=ModelRef("rule", self.rule, "", str(files), folder_digest(files)))
