"""RAG: passages of the documents are looked up for each question and put in front of it. https://arxiv.org/abs/2005.11401

The search (legs, fusion, weight, depth) is chosen on train rows whose passage is known, and so is the evidence below which
the question is not answered. What is trained after it (`rag+lora`) learns from passages with distractors, some rows with
their passage taken away: RAFT, https://arxiv.org/abs/2403.10131

What is fitted answers everyone, so rows are asked as by someone without access labels.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, ClassVar

import numpy as np

from rung.machine import OPENING_SECONDS, Machine
from rung.methods.base import Family, Method, Run
from rung.methods.estimate import CostEstimate, answer_seconds
from rung.methods.facts import Facts
from rung.methods.option import Count, Natural, Share
from rung.predictor import Predictor
from rung.retrieve import knowledge, lookup
from rung.retrieve.abstain import Threshold, Weighed, threshold
from rung.retrieve.ground import bears
from rung.retrieve.lookup import Lookup
from rung.retrieve.search import Asked, Settings, choose
from rung.sources import Documents
from rung.types import Example, Need, Source, TrainData

ASKED = 300
"""Train rows that the search is chosen on."""


@dataclass(frozen=True, kw_only=True)
class Rag(Method):
    name: ClassVar[str] = "rag"
    family: ClassVar[Family] = Family.RETRIEVAL
    needs: ClassVar[frozenset[Need]] = frozenset({Need.DOCUMENTS})
    fit_version: ClassVar[int] = 3

    passages: Count = 3
    """How many stand in the prompt. More hold the answer more often, cost more, and mislead small models."""
    size: Natural = 0
    """Tokens of a passage at most, in the embedder's tokens; 0 takes 200, or as many as the embedder reads."""
    overlap: Natural = knowledge.OVERLAP
    """Tokens that a passage repeats of the one before it."""
    rerank: str = ""
    """A cross-encoder that orders the passages anew; a hub id or a folder. Empty for none."""
    abstain: bool = True
    """Give no answer where the evidence is below a threshold learnt on train questions with and without their passages."""
    unanswerable: Share = 0.05
    """Share of questions expected to have no answer in the documents; the more, the more evidence is asked for."""
    withheld: Share = 0.1
    """Share of rows whose passage is taken away when a later method trains on them, so that not knowing is learnt."""
    planted: Share = 0.2
    """Share of rows in whose passages an instruction is planted when a later method trains on them; the answer stays."""
    screen: bool = True
    """Show passages without what they tell the answerer to do, and withhold answers that do not bear on the question."""

    def estimate(self, start: CostEstimate, facts: Facts, machine: Machine) -> CostEstimate:
        size = self.size or knowledge.SIZE
        own = start.prompt_tokens + self.passages * size
        embedding = facts.document_tokens / size * machine.prefill_seconds(facts.encoder_computing, size)
        return replace(
            start,
            fit_seconds=start.fit_seconds + OPENING_SECONDS + embedding,
            prompt_tokens=own,
            row_seconds=answer_seconds(own, start.shared_tokens, facts, machine, stop=start.stop_behaviour),
        )

    def fit(self, start: Predictor, data: TrainData, run: Run) -> Predictor:
        how = knowledge.config_of(run.engines, start.encoder, self.size, self.overlap)
        index = knowledge.place(run.shared or run.folder, self.size, self.overlap)
        changes = knowledge.bring_up_to_date(data.documents, index, run.engines, how, run.progress)
        run.progress("choosing how to search", 1.0)
        found = Lookup(
            index, data.documents.digest, start.encoder, Settings(k=self.passages), 0.0, self.withheld, self.planted, self.screen
        )
        known = _known(data.examples, found, run)
        settings = _chosen(known, found, run)
        found = replace(found, settings=replace(settings, k=self.passages, rerank=self.rerank))
        weighed = _weighed(known, found, run)
        at = threshold(weighed, self.unanswerable)
        run.notes.update(
            refused_files=dict(changes.refused),
            search={"legs": found.settings.legs, "fusion": found.settings.fusion, "weight": found.settings.weight},
            known=len(known),
            abstain=_told(at, len(weighed)),
        )
        return replace(start, lookup=replace(found, least=at.least if self.abstain else 0.0))


def _known(examples: Sequence[Example], found: Lookup, run: Run) -> list[tuple[Example, frozenset[str]]]:
    """Train rows with the ids of the passages that answer them, as far as rows or words tell.

    A row that names its source has that source's passages; of one that does not, only what a first search finds is read:
    holding every answer against every passage would take hours on a large index.
    """
    rows = random.Random(run.seed).sample(list(examples), min(ASKED, len(examples)))
    by_file: dict[str, list[Source]] = {}
    for change, _ in knowledge.open_kept(found.index, run.engines).contents():
        by_file[change.path] = [lookup.source_of(passage) for passage in change.passages]
    documents = Documents(by_file)
    total = sum(map(len, by_file.values()))
    wide = replace(found, settings=replace(found.settings, k=lookup.DEEP))
    bare = [row for row in rows if not row.source]
    first = dict(zip((row.id for row in bare), lookup.sources(wide, [row.input for row in bare], run.engines)))
    out = []
    for row in rows:
        named = [one.path for one in documents.find(row.source) if one.path]
        near = chain(*(by_file[path] for path in named)) if row.source else map(lookup.source, first[row.id])
        gold = frozenset(one.id for one in near if bears(row, one))
        if gold and len(gold) < total:
            out.append((row, gold))
    return out


def _chosen(known: Sequence[tuple[Example, frozenset[str]]], found: Lookup, run: Run) -> Settings:
    asked = [Asked(row.input, gold) for row, gold in known]
    vectors = (
        run.engines.embedder(found.embedder).embed([one.question for one in asked]) if asked else np.zeros((0, 1), np.float32)
    )
    return choose(knowledge.open_kept(found.index, run.engines), asked, vectors)


def _weighed(known: Sequence[tuple[Example, frozenset[str]]], found: Lookup, run: Run) -> list[Weighed]:
    """The evidence for questions with their passages and without, each time from as many passages as answering has.

    Left out is a question whose own passages fill the whole search: without them nothing is left to compare with.
    """
    k = found.settings.k
    wide = replace(found, settings=replace(found.settings, k=max(lookup.DEEP, k)))
    out = []
    for (row, gold), hits in zip(known, lookup.sources(wide, [row.input for row, _ in known], run.engines)):
        first, rest = hits[:k], [hit for hit in hits if hit.passage.id not in gold]
        if len(rest) >= k:
            seen = any(hit.passage.id in gold for hit in first)
            out.append(Weighed(lookup.evidence(row.input, first), seen, lookup.evidence(row.input, rest[:k])))
    return out


def _told(found: Threshold, n: int) -> dict[str, Any]:
    """The threshold for the record, and why there is none."""
    told = {"answered": found.answered, "withheld_refused": found.refused, "auc": found.auc}
    why = {} if found.least else {"no_threshold": "the evidence does not tell questions with a passage from those without"}
    return {"least_evidence": found.least, "gain": found.gain, "n": n} | why | {k: str(v) for k, v in told.items() if v}
