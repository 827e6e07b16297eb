"""Calibration: a language model's bias towards some labels is measured and divided out. https://arxiv.org/abs/2102.09690

Zhao et al. measure it on inputs without content; Zhou et al. as the mean over real inputs, https://arxiv.org/abs/2309.17249.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from rung.errors import BudgetError, RungError
from rung.lm.base import ScoresLabels
from rung.lm.inference.thinking import max_label_tokens, reason
from rung.machine import Machine
from rung.methods.base import Family, Method, Run
from rung.methods.estimate import CostEstimate
from rung.methods.facts import Facts
from rung.methods.few_shot import balanced
from rung.methods.option import Count
from rung.predictor import Calibration, Predictor
from rung.types import Example, Need, TrainData

BLAND = ("N/A", "", "[MASK]", "none", "...", "Text.", "Hello.")
"""Inputs without content. The wording of a single one would move the result, so several are asked."""
CHUNK = 16
"""Rows asked between two checks of the deadline."""


@dataclass(frozen=True, kw_only=True)
class Calibrated(Method):
    name: ClassVar[str] = "calibrated"
    family: ClassVar[Family] = Family.PROMPTING
    needs: ClassVar[frozenset[Need]] = frozenset({Need.EXAMPLES, Need.LABELS, Need.OPEN_WEIGHTS})
    fit_version: ClassVar[int] = 1
    folds: ClassVar[int] = 0

    over: Literal["inputs", "bland"] = "inputs"
    """inputs: the mean over train inputs, as many of each label; bland: over inputs without content such as N/A."""
    rows: Count = 64
    """How many train inputs."""

    def estimate(self, start: CostEstimate, facts: Facts, machine: Machine) -> CostEstimate:
        asked = min(self.rows, facts.train_rows) if self.over == "inputs" else len(BLAND)
        every = start.prompt_tokens + facts.labels * facts.output_tokens
        each = machine.prefill_seconds(facts.parameters, round(every))
        return replace(start, fit_seconds=start.fit_seconds + asked * each)

    def fit(self, start: Predictor, data: TrainData, run: Run) -> Predictor:
        engine = run.engines.open(start.model)
        if not isinstance(engine, ScoresLabels):
            raise RungError(
                f"{start.model.kind} {start.model.name!r} does not give the probability of every label.",
                where="calibrated",
                remedy="Calibrate a language model with open weights.",
            )
        start = replace(start, calibration=None)
        odds = np.concatenate([_odds(start, rows, engine, run) for rows in _parts(self._rows(start, data, run))])
        shares = odds.mean(axis=0)
        bias = np.log(shares.max()) - np.log(shares)
        run.notes["bent"] = {label: round(float(share), 4) for label, share in zip(start.labels, shares)}
        run.notes["asked"] = len(odds)
        return replace(start, calibration=Calibration(tuple(round(float(b), 6) for b in bias), start.digest))

    def _rows(self, start: Predictor, data: TrainData, run: Run) -> list[Example]:
        """Train inputs label by label in turn, so that the model's bias is divided out and not the task's label frequencies."""
        if self.over == "bland":
            return [Example(text, "") for text in BLAND]
        shown = {example.id for example in start.demos.fixed}
        free = [example for example in data.examples if example.id not in shown]
        return list(balanced(free or data.examples, self.rows, run.seed))


def _parts(rows: Sequence[Example]) -> list[Sequence[Example]]:
    return [rows[i : i + CHUNK] for i in range(0, len(rows), CHUNK)]


def _odds(start: Predictor, rows: Sequence[Example], engine: ScoresLabels, run: Run) -> np.ndarray:
    """Probability of each label, normalised over the labels, (rows, labels), with the prompts that rows will get."""
    if time.monotonic() > run.deadline:
        raise BudgetError("calibration stopped: the time budget is used up.", remedy="Raise budget.minutes in rung.yaml.")
    run.progress("measuring the bias towards labels", 0.0)
    prompts = start.prompts(rows, run.engines)
    if start.thinking:
        open_engine = run.engines.open(start.model)
        reasoned = reason(open_engine, prompts, start.thinking, start.decoding, max_label_tokens(start.labels))
        prompts = [one.prompt for one in reasoned]
    logs = np.array(engine.weigh(prompts, start.labels))
    odds = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))
