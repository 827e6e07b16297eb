"""RAG: passages of the documents are retrieved for each question and put before it. https://arxiv.org/abs/2005.11401

The search settings (legs, fusion, weight, depth) are chosen on train rows whose passage is known, and so is the evidence below
which a question is not answered. A method trained after it (`rag+lora`) learns from passages with distractors, some rows
without their passage: RAFT, https://arxiv.org/abs/2403.10131

The fitted Predictor answers everyone, so rows are asked without access labels.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, ClassVar

import numpy as np

from rung.machine import MODEL_OPEN_SECONDS, Machine
from rung.methods.base import Family, Method, Run
from rung.methods.estimate import CostEstimate, SharedPassages, answer_seconds
from rung.methods.facts import Facts
from rung.methods.option import Count, Natural, Share
from rung.predictor import Predictor
from rung.retrieve import knowledge, lessons, lookup
from rung.retrieve.abstain import Threshold, Weighed, threshold
from rung.retrieve.ground import bears, support
from rung.retrieve.lookup import Lookup
from rung.retrieve.passage import Passage, source_of
from rung.retrieve.search import RERANKED, LabelledQuestion, Settings, choose
from rung.sources import Documents
from rung.types import Example, Need, Source, TrainData

ASKED = 300
"""Train rows that the search is chosen on."""

COVERED = 0.6
"""Share of the cited passages beside a list's first that stand in no other, about: 0.54 for 500 rows of XQuAD, 0.71 for 100."""

Known = list[tuple[Example, frozenset[str]]]
"""Rows with the ids of the passages that answer them."""


@dataclass(frozen=True, kw_only=True)
class Rag(Method):
    name: ClassVar[str] = "rag"
    asked: ClassVar[int] = ASKED
    """Most train rows that the search is fitted on."""
    family: ClassVar[Family] = Family.RETRIEVAL
    needs: ClassVar[frozenset[Need]] = frozenset({Need.DOCUMENTS})
    fit_version: ClassVar[int] = 5
    folds: ClassVar[int] = 0
    quick: ClassVar[bool] = True

    passages: Count = 3
    """How many are in the prompt. More contain the answer more often, cost more, and mislead small models."""
    around: Natural = 0
    """Passages of the same section shown before and after each, where they follow it directly; for long documents."""
    size: Natural = 0
    """Most tokens of a passage, in the embedder's tokens; 0 takes 200, or as many as the embedder reads."""
    overlap: Natural = knowledge.OVERLAP
    """Tokens that a passage shares with the one before it."""
    rerank: str = ""
    """A cross-encoder that reranks the passages; a hub id or a folder. Empty for none."""
    abstain: bool = True
    """Give no answer if the evidence is below a threshold learnt on train questions with and without their passages."""
    unanswerable: Share = 0.05
    """Share of questions expected to have no answer in the documents; the more, the more evidence is required."""
    withheld: Share = 0.1
    """Share of rows whose passage is removed when a later method trains on them, so that it learns to abstain."""
    planted: Share = 0.2
    """Share of rows with an instruction planted in a passage when a later method trains on them; the answer stays the same."""
    together: bool = True
    """Show all rows that cite a passage the same passages when a later method trains on them: they are computed once."""
    screen: bool = True
    """Remove instructions to the model from passages, and withhold answers unrelated to the question."""

    def estimate(self, start: CostEstimate, facts: Facts, machine: Machine) -> CostEstimate:
        size = self.size or knowledge.SIZE
        shown = self.passages * (1 + 2 * self.around) * size
        own = start.prompt_tokens + shown
        embedding = facts.document_tokens / size * machine.prefill_seconds(facts.encoder_computing, size)
        return replace(
            start,
            fit_seconds=start.fit_seconds + MODEL_OPEN_SECONDS + embedding,
            prompt_tokens=own,
            shared_passages=self._shared(shown, facts.train_rows, facts.document_tokens / size),
            row_seconds=answer_seconds(own, start.shared_tokens, facts, machine, stop=start.stop_behaviour)
            + self._reading_seconds(facts, machine),
            memory_bytes=start.memory_bytes + (4 * facts.reader(self.rerank)[0] if self.rerank else 0),
        )

    def _reading_seconds(self, facts: Facts, machine: Machine) -> float:
        """Of the cross-encoder that `rerank` names, for a question."""
        tokens = facts.input_tokens + (self.size or knowledge.SIZE)
        return machine.prefill_seconds(facts.reader(self.rerank)[1], RERANKED * tokens) if self.rerank else 0.0

    def _shared(self, tokens: float, rows: int, passages: float) -> SharedPassages | None:
        """What training rows share of the `tokens` of their passages, if each passage is as often the right one."""
        known = (1 - self.withheld) * rows
        if not (self.together and known and passages):
            return None
        cited = passages * -math.expm1(-known / passages)
        lists = cited / (1 + COVERED * (self.passages - 1) * cited / passages)
        alone = self.withheld * max(0.0, 1 - self.passages * lists / passages)
        return SharedPassages(tokens=tokens, rows=(1 - alone) * rows / lists, alone=alone)

    def fit(self, start: Predictor, data: TrainData, run: Run) -> Predictor:
        how = knowledge.config_of(run.engines, start.encoder, self.size, self.overlap)
        index = knowledge.place(run.shared or run.folder, self.size, self.overlap)
        changes = knowledge.bring_up_to_date(data.documents, index, run.engines, how, run.progress)
        run.progress("choosing how to search", 1.0)
        found = Lookup(
            index,
            data.documents.digest,
            start.encoder,
            Settings(k=self.passages),
            0.0,
            self.withheld,
            self.planted,
            self.together,
            self.screen,
        )
        known = _known(data.examples, found, run, self.asked)
        found, unseen = self.searching(found, known, run)
        weighed = _weighed(unseen[:ASKED], found, run)
        at = threshold(weighed, self.unanswerable)
        run.notes.update(
            refused_files=dict(changes.refused),
            search={"legs": found.settings.legs, "fusion": found.settings.fusion, "weight": found.settings.weight},
            known=len(known),
            abstain=_summary(at, len(weighed)),
        )
        return replace(start, lookup=replace(found, least=at.least if self.abstain else 0.0, around=self.around))

    def searching(self, found: Lookup, known: Known, run: Run) -> tuple[Lookup, Known]:
        """How passages are searched, and the rows that nothing of it was trained on."""
        return self.with_settings(found, known[:ASKED], run), known

    def with_settings(self, found: Lookup, rows: Known, run: Run) -> Lookup:
        """The lookup with the search settings that do best on these rows."""
        return replace(found, settings=replace(_chosen(rows, found, run), k=self.passages, rerank=self.rerank))


def _known(examples: Sequence[Example], found: Lookup, run: Run, most: int) -> Known:
    """Up to `most` train rows with the ids of the passages that answer them, if the row names a source or the words match.

    For a row that names its source, that source's passages are tried; for another, only the hits of a first search, since
    comparing every answer with every passage would take hours on a large index.
    """
    rows = random.Random(run.seed).sample(list(examples), min(most, len(examples)))
    by_file: dict[str, list[Source]] = {}
    for change, _ in knowledge.open_kept(found.index, run.engines).contents():
        by_file[change.path] = [source_of(passage) for passage in change.passages]
    documents = Documents(by_file)
    total = sum(map(len, by_file.values()))
    wide = replace(found, settings=replace(found.settings, k=lessons.LESSON_DEPTH))
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


def _chosen(known: Known, found: Lookup, run: Run) -> Settings:
    asked = [LabelledQuestion(row.input, gold) for row, gold in known]
    questions = [one.question for one in asked]
    vectors = lookup.embedded(found, questions, run.engines) if asked else np.zeros((0, 1), np.float32)
    return choose(knowledge.open_kept(found.index, run.engines), asked, vectors)


def answers(row: Example, passage: Passage) -> bool:
    """Whether a passage contains one of the row's answers, whatever source the row names."""
    return any(support(one, passage.text) == 1.0 for one in row.accepted)


def _weighed(known: Known, found: Lookup, run: Run) -> list[Weighed]:
    """The evidence for questions with their passages and without, each from as many passages as a prompt has.

    A question whose own passages fill the whole search is left out: without them nothing is left to compare with.
    """
    k = found.settings.k
    wide = replace(found, settings=replace(found.settings, k=max(lessons.LESSON_DEPTH, k)))
    out = []
    for (row, gold), hits in zip(known, lookup.sources(wide, [row.input for row, _ in known], run.engines)):
        first, rest = hits[:k], [hit for hit in hits if hit.passage.id not in gold]
        if len(rest) >= k:
            seen = any(hit.passage.id in gold for hit in first)
            out.append(Weighed(lookup.evidence(row.input, first), seen, lookup.evidence(row.input, rest[:k])))
    return out


def _summary(found: Threshold, n: int) -> dict[str, Any]:
    """The threshold for the record, or why there is none."""
    intervals = {"answered": found.answered, "withheld_refused": found.refused, "auc": found.auc}
    why = {} if found.least else {"no_threshold": "the evidence does not separate questions with a passage from those without"}
    return {"least_evidence": found.least, "gain": found.gain, "n": n} | why | {k: str(v) for k, v in intervals.items() if v}
