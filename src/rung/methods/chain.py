"""What a rung asks for and costs, as the methods it joins declare it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rung.lm.base import ModelRef
from rung.lm.engine_kinds import can
from rung.machine import Machine
from rung.methods.base import Method, MetricUse
from rung.methods.estimate import CostEstimate, estimate_base, with_calls
from rung.methods.facts import Facts
from rung.metrics import own

MOST_ASKED = 300
"""Train rows answered at most by a language model or an endpoint, for confidences in new rows."""
MOST = 5000
"""By anything else."""


def asks_base(chain: Sequence[Method]) -> bool:
    """Whether a rung asks the base model, to fit or to answer: not if its first method brings its own model."""
    return not (chain and chain[0].own_model)


def asks_api(chain: Sequence[Method], base: ModelRef) -> bool:
    """Whether a rung asks an endpoint, to fit or to answer: as its base or as a teacher."""
    teachers = [method.teacher for method in chain if method.teacher]
    return (asks_base(chain) and not can(base).local) or any(not can(teacher).local for teacher in teachers)


def folds(chain: Sequence[Method]) -> int:
    """Parts of train for confidences in new rows, as `Method.folds` says: the fewest of the methods that need any."""
    return min((method.folds for method in chain if method.folds), default=0)


def rewarded(method: Method, metric: str, home: Path) -> list[str]:
    """What a fit's rewards depend on: the metric, and the team's own code. Empty if nothing is rewarded.

    `metric`: the task's, as a spec; `home`: the task's folder.
    """
    if method.metric_use is MetricUse.NEVER or (method.metric_use is MetricUse.EARLY_STOPPING and not method.patience):
        return []
    return [metric, *own.content_digests(metric, home), *own.content_digests(method.reward, home)]


def most_asked(chain: Sequence[Method]) -> int:
    """Train rows that a rung answers at most for confidences in new rows."""
    return MOST_ASKED if asks_base(chain) else MOST


def with_train_answers(found: CostEstimate, chain: Sequence[Method], facts: Facts) -> CostEstimate:
    """The estimate of a rung with that of train rows answered as new ones: the fits of the parts, and the answers."""
    parts, rows = folds(chain), min(facts.train_rows, most_asked(chain))
    again = replace(found, fit_seconds=max(1, parts) * found.fit_seconds, fit_usd=max(1, parts) * found.fit_usd)
    return with_calls(again, rows, found, facts)


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
