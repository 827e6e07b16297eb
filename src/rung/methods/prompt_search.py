"""Prompt search: instructions and demonstrations raced on rows of train, and accepted only if they win on fresh rows.

Candidates are fixed rewordings, instructions that a model proposes (https://arxiv.org/abs/2211.01910), and demonstrations in
several numbers, choices and orders (https://arxiv.org/abs/2104.08786). Half of published searches end below zero-shot
(https://arxiv.org/abs/2604.14585), so the winner must also win on rows that it was not chosen on.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, ClassVar

from rung.machine import Machine
from rung.methods import proposing
from rung.methods.base import Family, Method, MetricUse, Run
from rung.methods.confirm import ERROR, SearchBudget, conclude, confirmed, front, parts, within
from rung.methods.estimate import CostEstimate, with_calls
from rung.methods.facts import Facts
from rung.methods.option import Count, Natural, Weight
from rung.metrics import interval
from rung.predictor import Predictor
from rung.sequential.interim import MIN_ROWS, schedule_analyses
from rung.sequential.race import Outcome, clusters_of, in_order, race
from rung.types import Example, Need, TrainData


@dataclass(frozen=True, kw_only=True)
class PromptSearch(Method):
    name: ClassVar[str] = "prompt-search"
    family: ClassVar[Family] = Family.PROMPTING
    needs: ClassVar[frozenset[Need]] = frozenset({Need.EXAMPLES})
    fit_version: ClassVar[int] = 1
    metric_use: ClassVar[MetricUse] = MetricUse.ALWAYS

    calls: Count = 1500
    """Most rows asked in all, proposals included."""
    seconds: Weight = 0.0
    """Most seconds of searching, checked between chunks of rows; 0 for no limit but the task's own."""
    shots: Natural = 0
    """Most demonstrations in a prompt; 0 takes one per label, at least 8."""
    proposals: Natural = 3
    """Instructions that a model writes from the examples."""
    teacher: str = ""
    """A base that writes them. Empty for the model itself."""

    def estimate(self, start: CostEstimate, facts: Facts, machine: Machine) -> CostEstimate:
        pair = facts.input_tokens + facts.output_tokens
        demos = (self.shots or max(8, facts.labels)) * pair
        one = replace(start, shared_tokens=start.shared_tokens + demos / 2)  # about half of what is tried shows them
        rows = float(max(0, self.calls - self.proposals))
        taken = with_calls(start, rows, one, facts).fit_seconds - start.fit_seconds
        if self.seconds and taken > self.seconds:
            rows *= self.seconds / taken
        searched = with_calls(start, rows, one, facts)
        who = facts.of(self.teacher)
        writing = CostEstimate(
            prompt_tokens=facts.shared_tokens + proposing.SHOWN * pair,
            row_seconds=who.call_seconds or machine.decode_seconds(who.parameters, proposing.MAX_NEW_TOKENS),
            memory_bytes=0,
            output_tokens=proposing.MAX_NEW_TOKENS,
        )
        found = with_calls(searched, self.proposals, writing, who)
        return replace(found, shared_tokens=start.shared_tokens + demos)

    def fit(self, start: Predictor, data: TrainData, run: Run) -> Predictor:
        until = min(run.deadline, time.monotonic() + self.seconds if self.seconds else run.deadline)
        budget = SearchBudget(run, self.calls, until)
        pool, rows, fresh = parts(in_order(data.examples, run.seed))
        if len(rows) < MIN_ROWS or len(fresh) < MIN_ROWS:
            return conclude(start, f"no gain: {len(data.examples)} rows are too few to search and to confirm on", [], budget)
        bare = replace(start, calibration=None)  # a calibration is valid for one prompt only
        tried = [proposing.Tried("as it was", start), *self._proposed(bare, pool, run, budget)]
        return within(start, budget, self.name, lambda: self._searched(tried, rows, fresh, budget))

    def _proposed(self, start: Predictor, pool: Sequence[Example], run: Run, budget: SearchBudget) -> list[proposing.Tried]:
        """The candidates, most important first: a small budget drops the last ones."""
        shots = self.shots or max(8, len(start.labels))
        model = run.engines.reference(self.teacher) if self.teacher else start.model
        written = proposing.by_model(start, pool, run.engines.open(model), self.proposals, run.seed)
        budget.spent += self.proposals
        lists = [proposing.by_hand(start), proposing.shown(start, pool, shots, run), written]
        turns = [one for k in range(max(map(len, lists))) for some in lists for one in some[k : k + 1]]
        seen, out = {start.digest}, []
        for one in turns:
            if one.predictor.digest not in seen:
                seen.add(one.predictor.digest)
                out.append(one)
        return out

    def _searched(
        self, tried: list[proposing.Tried], rows: list[Example], fresh: list[Example], budget: SearchBudget
    ) -> Predictor:
        left = budget.calls - budget.spent
        fresh = front(fresh, left // 6)  # asked of two Predictors: a third of the budget
        most = left - 2 * len(fresh)
        tried = tried[: max(1, most // (2 * MIN_ROWS) - 1)]
        rows = front(rows, most // (len(tried) + 1))  # one more: the best wording with the best demonstrations
        start = tried[0].predictor
        if len(tried) < 2 or len(rows) < MIN_ROWS or len(fresh) < MIN_ROWS:
            return conclude(start, f"no gain: {budget.calls} calls are too few for a search", [], budget)
        clusters = clusters_of(rows)
        asked = [budget.asker(one.predictor) for one in tried]
        outcome = race(asked, rows, schedule_analyses(len(rows), clusters), alpha=ERROR, clusters=clusters)
        summary = _summary(tried, outcome)
        best = tried[outcome.winner]
        if both := proposing.joined(start, *_leaders(tried, outcome)):
            values = budget.asker(both.predictor)(rows)
            summary.append({"what": both.what, "rows": len(rows), "score": str(interval(values))})
            if fmean(values) > max(fmean(found) for found in outcome.values if len(found) == len(rows)):
                best = both
        budget.run.notes["spread"] = spread(tried, outcome)
        if best.predictor == start:
            return conclude(start, "no gain: nothing tried did better than the start", summary, budget)
        return confirmed(start, best, fresh, summary, budget)


def spread(tried: Sequence[proposing.Tried], outcome: Outcome) -> dict[str, dict[str, Any]]:
    """How much scores vary between wordings, and between orders of demonstrations, on rows that the whole group was asked."""
    out = {}
    for name in ("wording", "order"):
        group = [i for i, one in enumerate(tried) if name in one.varies]
        if len(group) > 1:
            n = min(outcome.rows_asked[i] for i in group)
            means = [fmean(outcome.values[i][:n]) for i in group]
            found = {"mean": fmean(means), "min": min(means), "max": max(means)}
            out[name] = {"tried": len(group), "n": n, **{key: round(value, 4) for key, value in found.items()}}
    return out


def _summary(tried: Sequence[proposing.Tried], outcome: Outcome) -> list[dict[str, Any]]:
    dropped = {one.candidate: one.reason for one in outcome.dropped}
    return [
        {
            "what": one.what,
            "rows": len(values),
            "score": str(interval(values)),
            **({"dropped": dropped[i]} if i in dropped else {}),
        }
        for i, (one, values) in enumerate(zip(tried, outcome.values))
    ]


def _leaders(tried: Sequence[proposing.Tried], outcome: Outcome) -> list[proposing.Tried]:
    """The best wording and the best demonstrations of those left that score above the start."""
    means = {i: fmean(outcome.values[i]) for i in outcome.left}
    floor = fmean(outcome.values[0])
    out = []
    for words in (True, False):
        some = [i for i in means if i and ("wording" in tried[i].varies) == words and means[i] > floor]
        out += [tried[max(some, key=means.__getitem__)]] if some else []
    return out
