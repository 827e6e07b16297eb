"""Distillation: a teacher labels the team's unlabelled inputs, and the next method learns from those rows as well.

https://arxiv.org/abs/1503.02531; of whole answers: https://arxiv.org/abs/1606.07947. Rows that the teacher is unsure of
are dropped: https://arxiv.org/abs/1911.04252
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import ClassVar

from rung import label_sets
from rung.errors import BudgetError
from rung.lm.base import ModelRef
from rung.machine import Machine
from rung.methods.base import Family, Method, Run
from rung.methods.estimate import CostEstimate, StopBehaviour, answer_seconds, estimate_base, with_calls
from rung.methods.facts import Facts
from rung.methods.option import Count, Share
from rung.predictor import CHUNK, Predictor
from rung.types import Example, Need, TrainData


@dataclass(frozen=True, kw_only=True)
class Distil(Method):
    name: ClassVar[str] = "distil"
    family: ClassVar[Family] = Family.DISTILLATION
    needs: ClassVar[frozenset[Need]] = frozenset({Need.UNLABELLED})
    fit_version: ClassVar[int] = 2

    teacher: str = ""
    """The model that labels: a name, a folder or an endpoint. Empty for the rung so far."""
    least: Share = 0.8
    """Labels to which the teacher gives less probability are dropped. Free answers have no probability, so all are used."""
    most: Count = 5000
    """Inputs labelled at most."""

    def estimate(self, start: CostEstimate, facts: Facts, machine: Machine) -> CostEstimate:
        rows = min(self.most, facts.unlabelled)
        if not self.teacher:
            return with_calls(start, rows, start, facts)
        # a teacher gets the rung's prompt so far, or the task's if another kind of model answers by now
        who, asked = facts.of(self.teacher), start if start.output_tokens else estimate_base(facts, machine)
        seconds = answer_seconds(asked.prompt_tokens, asked.shared_tokens, who, machine, facts.labels, StopBehaviour.NOTHING)
        seconds *= asked.calls if who.call_seconds else 1
        return with_calls(start, rows, replace(asked, row_seconds=seconds), who)

    def fit(self, start: Predictor, data: TrainData, run: Run) -> Predictor:
        asked = [Example(text, "") for text in data.unlabelled[: self.most]]
        teacher = replace(start, model=self._model(start.model, run))
        labelled: list[Example] = []
        failed = other = 0
        for begin in range(0, len(asked), CHUNK):
            if time.monotonic() > run.deadline:
                raise BudgetError(
                    f"distil: labelling stopped at row {begin} of {len(asked)}: the time budget is used up.",
                    remedy="Raise budget.minutes in rung.yaml, or lower methods.distil.most; answers of an endpoint are cached.",
                )
            run.progress(f"labelling row {begin} of {len(asked)}", begin / len(asked))
            part = asked[begin : begin + CHUNK]
            for row, found in zip(part, teacher.predict(part, run.engines)):
                failed += bool(found.error)
                # an endpoint may answer something that is no label, without a confidence
                named = _known(found.output, start)
                other += not named and not found.error
                sure = found.confidence is None or found.confidence >= self.least
                if found.output and named and sure and not found.error:
                    labelled.append(replace(row, output=found.output, where=f"labelled by {teacher.model.name}"))
        run.notes.update(teacher=teacher.model.name, asked=len(asked), kept=len(labelled), failed=failed, no_label=other)
        return replace(start, taught=(*start.taught, *labelled))

    def _model(self, before: ModelRef, run: Run) -> ModelRef:
        return run.engines.reference(self.teacher) if self.teacher else before


def _known(answer: str, start: Predictor) -> bool:
    """Whether an answer is one of the task's labels, or a list of them; any text where it has none."""
    if start.label_set:
        return (found := label_sets.parse(answer)) is not None and set(found) <= set(start.label_set)
    return not start.labels or answer in start.labels
