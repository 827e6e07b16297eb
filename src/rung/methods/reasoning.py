"""Reasoning: the model writes its way to the answer before it answers. https://arxiv.org/abs/2201.11903

Alone it is only told to (https://arxiv.org/abs/2205.11916). Behind few-shot the demonstrations show how: with the rows' own
reasoning, or with what the model itself or a teacher wrote, kept only where it led to the right answer
(https://arxiv.org/abs/2203.14465). In the form of plan and reflection: https://arxiv.org/abs/2210.03629
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from rung.errors import BudgetError, RungError
from rung.lm.thinking import MARK, Thinking, think
from rung.machine import Machine
from rung.methods.base import Facts, Family, Quote, Run
from rung.predictor import Demos, Predictor
from rung.types import Example, Need, TrainData

COLUMN = "reasoning"
"""Where rows have their reasoning, and where what is written for them is kept."""
PARTS = ("Thought:", "Plan:", "Check:")
"""What planned reasoning consists of, each part on a line of its own."""
RULES = {
    "steps": f'Think step by step. Then write "{MARK}" on a line of its own, and on the next line the answer alone.',
    "plan": "Work in four parts. Thought: what is asked, and what matters. Plan: the steps, carried out one by one. "
    "Check: whether the result answers what was asked, put right if not. "
    f'Then write "{MARK}" on a line of its own, and on the next line the answer alone.',
}
OPENINGS = {"steps": "Let's think step by step.", "plan": PARTS[0]}
WRITTEN = 0.5
"""Share of the tokens allowed that reasoning takes, for the quote."""


@dataclass(frozen=True, kw_only=True)
class Reasoning:
    name: ClassVar[str] = "reasoning"
    family: ClassVar[Family] = Family.PROMPTING
    needs: ClassVar[frozenset[Need]] = frozenset()
    fit_version: ClassVar[int] = 1
    rewarded: ClassVar[bool] = True

    form: Literal["steps", "plan"] = "steps"
    """steps: thinking step by step; plan: in the parts Thought, Plan and Check."""
    thought: int = 256
    """Tokens that the reasoning may have before it is cut and the answer is asked for."""
    samples: int = 1
    """Reasonings drawn to a row. Of several the most frequent answer is taken, and its share is the confidence."""
    temperature: float = 0.7
    """At which several are drawn; a single one is the likeliest."""
    teacher: str = ""
    """A base that writes the reasoning of demonstrations without one. Empty for the model itself."""

    def estimate(self, start: Quote, facts: Facts, machine: Machine) -> Quote:
        written = self.samples * self.thought * WRITTEN
        if facts.call_seconds:
            more = facts.call_seconds  # samples go side by side; the label is a second call
        else:
            more = machine.decode_seconds(facts.parameters, round(written), batch=8) / 8
        return replace(
            start,
            row_seconds=start.row_seconds + more,
            output_tokens=start.output_tokens + written if start.output_tokens else 0.0,
        )

    def fit(self, start: Predictor, data: TrainData, run: Run) -> Predictor:
        if start.model.kind not in ("causal", "remote", "fake"):
            raise RungError(
                f"{start.model.kind} {start.model.name!r} writes no text, so it cannot reason.",
                where="reasoning",
                remedy="Use reasoning with a language model, first in the rung or behind few-shot.",
            )
        how = self._how(start.model.kind)
        reasoned = replace(start, thinking=how, calibration=None)
        known = [row for row in start.demos.fixed if row.extra.get(COLUMN)]
        lacking = [row for row in start.demos.fixed if not row.extra.get(COLUMN)]
        made = self._traced(lacking, reasoned, run) if lacking else []
        run.notes["traces"] = {"given": len(known), "asked for": len(lacking), "right and kept": len(made)}
        kept = {row.id: row for row in (*known, *made)}
        fixed = tuple(kept[row.id] for row in start.demos.fixed if row.id in kept)
        return replace(reasoned, demos=replace(start.demos, fixed=fixed))

    def _how(self, kind: str) -> Thinking:
        # a chat interface cannot go on in the midst of an answer, and such models need no opening
        opening = "" if kind == "remote" else OPENINGS[self.form]
        return Thinking(RULES[self.form], COLUMN, opening, self.thought, self.samples, self.temperature)

    def _traced(self, rows: Sequence[Example], reasoned: Predictor, run: Run) -> list[Example]:
        """The rows with reasoning written for them, as far as it led to the right answer and has the form."""
        if time.monotonic() > run.deadline:
            raise BudgetError("no time is left to write reasoning.", remedy="Raise budget.minutes in rung.yaml.")
        run.progress("writing the reasoning of demonstrations", 0.0)
        model = run.engines.reference(self.teacher) if self.teacher else reasoned.model
        how = replace(self._how(model.kind), samples=1)
        writer = replace(reasoned, model=model, thinking=how, demos=Demos())
        found = think(run.engines.open(model), writer.prompts(rows, run.engines), how, writer.labels, writer.decoding)
        out = []
        for row, thought in zip(rows, found):
            whole = all(part in thought.trace for part in PARTS) if self.form == "plan" else bool(thought.trace)
            if whole and run.reward(thought.output, row) >= 1.0:
                out.append(replace(row, extra={**row.extra, COLUMN: thought.trace}))
        return out
