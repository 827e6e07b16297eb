"""Estimated duration of a climb over all rungs: fitting, answering the dev rows, measuring forgetting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rung.evaluate import forgetting
from rung.machine import Machine
from rung.methods.multiprocess import TRAINS
from rung.planning.steps import Step


@dataclass(frozen=True, slots=True)
class Total:
    """Estimated seconds of a climb over all rungs, with nothing on record."""

    fit: float
    answer: float
    """The dev rows."""
    forget: float
    """Measuring general ability before and after."""

    @property
    def seconds(self) -> float:
        return self.fit + self.answer + self.forget


def total(steps: Sequence[Step], dev_rows: int, on: forgetting.Probe, machine: Machine) -> Total:
    """Sum of the estimates. A fit shared by several rungs counts once."""
    tried = [step for step in steps if step.estimate]
    fit = answer = 0.0
    touched, untouched = [], set()
    for step in tried:
        assert step.estimate
        base = step.base.start.digest
        before = [
            one.estimate.fit_seconds
            for one in tried
            if one.estimate
            and one.base.start.digest == base
            and one.methods == step.methods[: len(one.methods)]
            and one is not step
        ]
        if step.parts:
            before = [sum(one.estimate.fit_seconds for one in tried if one.estimate and one.rung in {p.rung for p in step.parts})]
        # corrected each by its own past, a part may be estimated above the whole
        fit += max(0.0, step.estimate.fit_seconds - max([0.0, *before]))
        answer += step.estimate.row_seconds * dev_rows / (step.base.facts.concurrency if step.remote else 1)
        if any(method.family in TRAINS for method in step.methods):
            touched.append(step.base.facts.parameters)
            untouched.add((base, step.base.facts.parameters))
    models = [*touched, *(parameters for _, parameters in sorted(untouched))]
    return Total(fit, answer, sum(forgetting.seconds(on, parameters, machine) for parameters in models))
