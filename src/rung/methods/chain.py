"""What a rung asks for and costs, as the methods it joins declare it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rung.lm.base import ModelRef
from rung.lm.engine_kinds import can
from rung.machine import Machine
from rung.methods.base import Method, MetricUse
from rung.methods.estimate import CostEstimate, estimate_base
from rung.methods.facts import Facts
from rung.metrics import own


def asks_base(chain: Sequence[Method]) -> bool:
    """Whether a rung asks the base model, to fit or to answer: not if its first method brings its own model."""
    return not (chain and chain[0].own_model)


def asks_api(chain: Sequence[Method], base: ModelRef) -> bool:
    """Whether a rung asks an endpoint, to fit or to answer: as its base or as a teacher."""
    teachers = [method.teacher for method in chain if method.teacher]
    return (asks_base(chain) and not can(base).local) or any(not can(teacher).local for teacher in teachers)


def rewarded(method: Method, metric: str, home: Path) -> list[str]:
    """What a fit's rewards depend on: the metric, and the team's own code. Empty if nothing is rewarded.

    `metric`: the task's, as a spec; `home`: the task's folder.
    """
    if method.metric_use is MetricUse.NEVER or (method.metric_use is MetricUse.EARLY_STOPPING and not method.patience):
        return []
    return [metric, *own.content_digests(metric, home), *own.content_digests(method.reward, home)]


def estimate_rung(chain: Sequence[Method], facts: Facts, machine: Machine) -> CostEstimate:
    """The estimate of a rung: of the untouched base, then of its methods one after another."""
    estimate = estimate_base(facts, machine)
    for method in chain:
        found = method.estimate(estimate, facts, machine)
        # what was spent before stays spent, also if a method answers with its own model and starts a new estimate
        seconds, usd = max(found.fit_seconds, estimate.fit_seconds), max(found.fit_usd, estimate.fit_usd)
        estimate = replace(found, fit_seconds=seconds, fit_usd=usd)
        if estimate.parameters:
            facts = replace(facts, parameters=estimate.parameters)
    return estimate
