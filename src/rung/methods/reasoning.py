"""Reasoning: the model writes its way to the answer before it answers. https://arxiv.org/abs/2201.11903

Alone it is an instruction (https://arxiv.org/abs/2205.11916). Behind few-shot the demonstrations show how: with the rows' own
reasoning, or with what the model itself or a teacher wrote, used only if it led to the right answer
(https://arxiv.org/abs/2203.14465). In the form of plan and reflection: https://arxiv.org/abs/2210.03629
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

from rung.errors import BudgetError, RungError
from rung.lm.base import ModelRef
from rung.lm.engine_kinds import can
from rung.lm.inference.thinking import MARKER, Thinking, think
from rung.lm.vectors import load_vectors, save_vectors
from rung.machine import Machine
from rung.methods.base import Family, Method, MetricUse, Run
from rung.methods.estimate import CostEstimate, estimate_base, with_calls
from rung.methods.facts import Facts
from rung.methods.option import Count, Weight
from rung.predictor import Demos, Predictor, folder_digest
from rung.types import Example, Need, TrainData

COLUMN = "reasoning"
"""Column of the rows' reasoning, given or written by the model."""
PARTS = ("Thought:", "Plan:", "Check:")
"""Parts of planned reasoning, each on its own line."""
RULES = {
    "steps": f'Think step by step. Then write "{MARKER}" on a line of its own, and on the next line the answer alone.',
    "plan": "Work in four parts. Thought: what is asked, and what matters. Plan: the steps, carried out one by one. "
    "Check: whether the result answers what was asked, put right if not. "
    f'Then write "{MARKER}" on a line of its own, and on the next line the answer alone.',
}
OPENINGS = {"steps": "Let's think step by step.", "plan": PARTS[0]}
WRITTEN = 0.5
"""Share of the allowed tokens that reasoning takes, for the estimate."""


@dataclass(frozen=True, kw_only=True)
class Reasoning(Method):
    name: ClassVar[str] = "reasoning"
    family: ClassVar[Family] = Family.PROMPTING
    needs: ClassVar[frozenset[Need]] = frozenset()
    fit_version: ClassVar[int] = 2
    folds: ClassVar[int] = 0
    metric_use: ClassVar[MetricUse] = MetricUse.ALWAYS

    form: Literal["steps", "plan"] = "steps"
    """steps: thinking step by step; plan: in the parts Thought, Plan and Check."""
    thought: Count = 256
    """Most tokens of the reasoning; then it is cut and the answer is asked for."""
    samples: Count = 1
    """Reasonings sampled per row. Of several, the most frequent answer wins, and its share is the confidence."""
    temperature: Weight = 0.7
    """Sampling temperature of several reasonings; a single one is decoded greedily."""
    teacher: str = ""
    """A base that writes reasoning for demonstrations that have none. Empty for the model itself."""

    def estimate(self, start: CostEstimate, facts: Facts, machine: Machine) -> CostEstimate:
        found = self._reasoned(start, facts, machine, self.samples)
        pair = facts.input_tokens + facts.output_tokens
        demos = max(0.0, start.shared_tokens - facts.shared_tokens - facts.label_tokens) / pair if pair else 0.0
        if not demos:
            return found
        # as if no demonstration had reasoning, and all that is written led to the right answer
        found = replace(found, shared_tokens=found.shared_tokens + demos * self.thought * WRITTEN)
        who = facts.of(self.teacher)
        return with_calls(found, demos, self._reasoned(estimate_base(who, machine), who, machine, 1), who)

    def _reasoned(self, start: CostEstimate, facts: Facts, machine: Machine, samples: int) -> CostEstimate:
        """The estimate with this many reasonings per row. Each is a call; with labels a second call chooses the label."""
        written = self.thought * WRITTEN
        calls = samples * (2 if facts.labels else 1)
        again = written / 2 if facts.labels else 0.0  # half of the calls read what the other half wrote
        if facts.call_seconds:
            more = (calls - 1) * facts.call_seconds
        else:
            more, again = machine.decode_seconds(facts.parameters, round(samples * written), batch=8) / 8, 0.0
        return replace(
            start,
            row_seconds=start.row_seconds + more,
            prompt_tokens=start.prompt_tokens + again,
            output_tokens=start.output_tokens + written * samples / calls if start.output_tokens else 0.0,
            calls=calls,
        )

    def fit(self, start: Predictor, data: TrainData, run: Run) -> Predictor:
        if not can(start.model).writes:
            raise RungError(
                f"{start.model.kind} {start.model.name!r} writes no text, so it cannot reason.",
                where="reasoning",
                remedy="Use reasoning with a language model, first in the rung or behind few-shot.",
            )
        how = self._how(start.model)
        reasoned = replace(start, thinking=how, calibration=None)
        demos = _reasoned_pool(start.demos, run)
        known = [row for row in start.demos.fixed if row.extra.get(COLUMN)]
        lacking = [row for row in start.demos.fixed if not row.extra.get(COLUMN)]
        made = self._traced(lacking, reasoned, run) if lacking else []
        run.notes["traces"] = {"given": len(known), "asked for": len(lacking), "right and kept": len(made)}
        kept = {row.id: row for row in (*known, *made)}
        fixed = tuple(kept[row.id] for row in start.demos.fixed if row.id in kept)
        return replace(reasoned, demos=replace(demos, fixed=fixed))

    def _how(self, model: ModelRef) -> Thinking:
        # a chat API cannot go on from the beginning of an answer, and its models need no opening
        opening = OPENINGS[self.form] if can(model).continues else ""
        return Thinking(RULES[self.form], COLUMN, opening, self.thought, self.samples, self.temperature)

    def _traced(self, rows: Sequence[Example], reasoned: Predictor, run: Run) -> list[Example]:
        """The rows with the reasoning written for them, if it led to the right answer and has all parts."""
        if time.monotonic() > run.deadline:
            raise BudgetError("no time is left to write reasoning.", remedy="Raise budget.minutes in rung.yaml.")
        run.progress("writing the reasoning of demonstrations", 0.0)
        model = run.engines.reference(self.teacher) if self.teacher else reasoned.model
        how = replace(self._how(model), samples=1)
        writer = replace(reasoned, model=model, thinking=how, demos=Demos())
        found = think(run.engines.open(model), writer.prompts(rows, run.engines), how, writer.labels, writer.decoding)
        out = []
        for row, thought in zip(rows, found):
            whole = all(part in thought.trace for part in PARTS) if self.form == "plan" else bool(thought.trace)
            if whole and run.reward(thought.output, row) >= 1.0:
                out.append(replace(row, extra={**row.extra, COLUMN: thought.trace}))
        return out


def _reasoned_pool(demos: Demos, run: Run) -> Demos:
    """The demonstrations, the pool reduced to those with reasoning: one without teaches the model to skip it."""
    own = [i for i, row in enumerate(demos.pool) if row.extra.get(COLUMN)]
    if len(own) == len(demos.pool):
        return demos
    if not own:
        raise RungError(
            "none of the examples to draw similar ones from has reasoning to show.",
            where="reasoning",
            remedy=f"Give rows of train a column {COLUMN!r}, or use few-shot+reasoning: there the model writes it.",
        )
    files = run.folder / "demos"
    files.mkdir()
    save_vectors(files, load_vectors(Path(demos.files))[own])
    run.notes["similar"] = {"with reasoning": len(own), "without, left out": len(demos.pool) - len(own)}
    pool = tuple(demos.pool[i] for i in own)
    return replace(demos, pool=pool, files=str(files), files_digest=folder_digest(files))
