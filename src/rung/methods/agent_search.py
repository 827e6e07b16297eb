"""Agent-search: the model looks through the documents itself before it answers: it lists files, finds text and reads.

For models that are good at it, behind an API or large. It asks the model several times for one answer, so it costs more than
`rag` and takes longer; it needs no embedding to find what other words say. ReAct: https://arxiv.org/abs/2210.03629

The fitted Predictor answers everyone, so rows are asked without access labels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from rung.errors import TaskError
from rung.lm.engine_kinds import can
from rung.machine import MODEL_OPEN_SECONDS, Machine
from rung.methods.base import Family, Method, Run
from rung.methods.estimate import CostEstimate, answer_seconds
from rung.methods.facts import Facts
from rung.methods.option import Count
from rung.predictor import Predictor
from rung.retrieve import knowledge
from rung.retrieve.browse import Limits
from rung.retrieve.lookup import Lookup
from rung.retrieve.search import Settings
from rung.types import Need, TrainData

TURN_TOKENS = 40
"""Tokens that a turn of looking through the documents usually writes."""
RULE_TOKENS = 200
"""Of the instruction to look through the documents."""


@dataclass(frozen=True, kw_only=True)
class AgentSearch(Method):
    name: ClassVar[str] = "agent-search"
    family: ClassVar[Family] = Family.RETRIEVAL
    needs: ClassVar[frozenset[Need]] = frozenset({Need.DOCUMENTS})
    fit_version: ClassVar[int] = 1
    folds: ClassVar[int] = 0

    steps: Count = 6
    """Most turns for a question in which the model lists, finds or reads; then it must answer."""
    tokens: Count = 12_000
    """Most prompt tokens of these turns together."""
    passages: Count = 4
    """Passages that the answer is given from: the last ones that the model read."""
    at_once: Count = 2
    """Passages that the model gets when it reads."""

    def estimate(self, start: CostEstimate, facts: Facts, machine: Machine) -> CostEstimate:
        size = knowledge.SIZE
        turns = [RULE_TOKENS + turn * (self.at_once * size + TURN_TOKENS) for turn in range(self.steps)]
        looking = sum(answer_seconds(tokens, RULE_TOKENS, facts, machine) for tokens in turns)
        own = start.prompt_tokens + self.passages * size
        embedding = facts.document_tokens / size * machine.prefill_seconds(facts.encoder_computing, size)
        return replace(
            start,
            fit_seconds=start.fit_seconds + MODEL_OPEN_SECONDS + embedding,
            prompt_tokens=own + min(self.tokens, sum(turns)),
            row_seconds=looking + answer_seconds(own, start.shared_tokens, facts, machine, stop=start.stop_behaviour),
        )

    def fit(self, start: Predictor, data: TrainData, run: Run) -> Predictor:
        if not can(start.model).writes:
            raise TaskError(f"{start.model.name} does not write text, so it cannot look through documents.", where="agent-search")
        how = knowledge.config_of(run.engines, start.encoder)
        index = knowledge.place(run.shared or run.folder)
        changes = knowledge.bring_up_to_date(data.documents, index, run.engines, how, run.progress)
        run.notes["refused_files"] = dict(changes.refused)
        limits = Limits(self.steps, self.tokens, self.at_once)
        return replace(
            start, lookup=Lookup(index, data.documents.digest, start.encoder, Settings(k=self.passages), browse=limits)
        )
