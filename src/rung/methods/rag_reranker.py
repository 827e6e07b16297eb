"""The reranker of `rag-tuned`: a cross-encoder tuned on train rows, each with wrong passages that the search in use finds.

Passage re-ranking with BERT: https://arxiv.org/abs/1901.04085. Few rows do not teach it enough to order passages alone, so its
scores are mixed with those of the search. It is used only if held-back rows show a gain over the search without it.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rung.lm.inference.rerank import PAIR_TOKENS
from rung.machine import MODEL_OPEN_SECONDS, Machine
from rung.methods import retrieval_gain, stages, tuning
from rung.methods.base import Run
from rung.methods.estimate import CostEstimate
from rung.methods.facts import Facts
from rung.methods.rag import Known, answers
from rung.methods.retrieval_gain import CUT, Parts
from rung.metrics.retrieval import ndcg
from rung.predictor import folder_digest
from rung.retrieve import knowledge, lookup, negatives
from rung.retrieve.lookup import Lookup, TunedReranker
from rung.retrieve.passage import embedded_text
from rung.retrieve.search import Hit, mixed

if TYPE_CHECKING:
    from rung.lm.training.train import TrainConfig

Lesson = tuple[str, list[str]]
"""A question with the texts of its passages, a right one first."""

READ = 8
"""Passages that it reads for a question."""
WRONG = 2
"""Wrong passages beside the right one, others in each epoch."""
EPOCHS, BATCH, TOKENS = 3, 8, 2048
"""Times that each row is learnt from, rows of a step, and most tokens computed at once."""
RATE_NEW, RATE_NAMED = 5e-5, 2e-5
"""Highest step sizes: of an encoder under a new head, and of a cross-encoder that is one already."""
CHECKS = 3
"""Times that the choosing rows are scored. None ends the training: a new head is slow to leave chance."""
WEIGHTS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Of its scores in the mix; the first of the best is taken."""


def estimate(plain: CostEstimate, facts: Facts, machine: Machine, size: int, start: str) -> CostEstimate:
    """The estimate with the tuning of a reranker, from the one named `start` or from the task's encoder, and its passes for each
    question. Those of one named `start` are in `plain`, and more; they stay if the tuned one gains nothing.
    """
    parameters, computing = facts.reader(start)
    pair = min(PAIR_TOKENS, facts.input_tokens + (size or knowledge.SIZE))
    reading = machine.prefill_seconds(computing, READ * pair)
    held = retrieval_gain.HELD * facts.train_rows
    choose = retrieval_gain.CHOICE * (facts.train_rows - held)
    learnt = round((facts.train_rows - held - choose) * (1 + WRONG) * pair)
    return replace(
        plain,
        fit_seconds=plain.fit_seconds
        + MODEL_OPEN_SECONDS
        + machine.training_seconds(computing, 1.0, learnt, EPOCHS)
        + ((CHECKS + 1) * choose + 2 * held) * reading,  # those that it did not learn from also choose the threshold
        row_seconds=plain.row_seconds + (0.0 if start else reading),
        memory_bytes=max(plain.memory_bytes + 4 * parameters, tuning.memory(parameters, 1.0, TOKENS, machine)),
    )


def tuned(found: Lookup, given: Parts, run: Run) -> Lookup | None:
    """The lookup with a reranker tuned on `given.learn`; None where the held-back rows show no gain, which the notes state."""
    fitting = _Fitting(replace(found, settings=replace(found.settings, rerank="")), found.settings.rerank, given, run)
    lessons = fitting.lessons()
    if not lessons:
        run.notes["reranker"] = {"kept": False, "why": "the search finds no wrong passages to learn from"}
        return None
    files, notes = stages.once(run, "reranker", partial(fitting.train, lessons))
    reranker = TunedReranker(str(files), folder_digest(files), notes["weight"], READ)
    after = replace(fitting.found, reranker=reranker)
    run.notes["reranker"] = retrieval_gain.compared(found, after, given, run) | notes | {"read": READ}
    gained = run.notes["reranker"]["kept"]
    run.engines.close_reranker(found.settings.rerank if gained else reranker.files)
    if gained:
        return after
    shutil.rmtree(files)
    return None


@dataclass(frozen=True)
class _Fitting:
    """One fit of a reranker."""

    found: Lookup
    """How passages are searched without it."""
    start: str
    """The cross-encoder to start from; empty for the task's encoder under a new head."""
    given: Parts
    run: Run

    def train(self, lessons: Sequence[Lesson], files: Path, place: Path) -> dict[str, Any]:
        """Write the reranker at the step that does best on the rows `choose`; its weight in the mix and the training's notes."""
        from rung.lm.training import classifier, ranking, train

        run, engines = self.run, self.run.engines
        folder = engines.find(self.start or self.found.embedder).folder
        loaded = ranking.load(folder, engines.machine, run.seed, headed=bool(self.start))
        rows = [(row, gold, hits) for (row, gold), hits in zip(self.given.choose, self._hits(self.given.choose, CUT))]
        texts = [(row.input, [embedded_text(hit.passage) for hit in hits[:READ]]) for row, _, hits in rows]
        score = ranking.scorer(loaded, texts)
        right = [[hit.passage.id in gold for hit in hits[:READ]] for _, gold, hits in rows]
        items, loss = ranking.items(loaded)
        history = train.run(
            loaded,
            ranking.candidate_lists(loaded, lessons),
            self._plan(),
            place,
            loss=loss,
            items=items,
            validate=lambda: _log_likelihood(score(), right),
            watch=tuning.watch(run),
        )
        classifier.save(loaded, files)
        weight = best_weight([hits for _, _, hits in rows], score(), [gold for _, gold, _ in rows])
        return {"weight": weight} | train.notes(loaded.model, history)

    def _plan(self) -> TrainConfig:
        from rung.lm.training.train import TrainConfig

        return TrainConfig(
            learning_rate=RATE_NAMED if self.start else RATE_NEW,
            epochs=1,  # the lessons are those of all epochs
            batch=BATCH,
            tokens=TOKENS,
            weight_decay=0.01,
            patience=CHECKS,
            evaluations=CHECKS,
            seed=self.run.seed,
        )

    def lessons(self) -> list[Lesson]:
        """What is learnt from: each row in each epoch, with other wrong passages as far as there are."""
        known = negatives.corpus(knowledge.open_kept(self.found.index, self.run.engines))
        places = {passage.id: place for place, passage in enumerate(known.passages)}
        out = []
        for (row, gold), hits in zip(self.given.learn, self._hits(self.given.learn, negatives.DEPTH)):
            right = sorted(places[name] for name in gold if name in places)
            near = [places[hit.passage.id] for hit in hits if hit.passage.id in places]
            wrong = negatives.sort_out(known, near, right, partial(answers, row)).hard
            first = [place for place in near if place in right] or right
            for epoch in range(EPOCHS if first and wrong else 0):
                drawn = wrong[epoch * WRONG : (epoch + 1) * WRONG] or wrong[:WRONG]
                passages = [first[epoch % len(first)], *drawn]
                out.append((row.input, [embedded_text(known.passages[place]) for place in passages]))
        return out

    def _hits(self, rows: Known, count: int) -> list[list[Hit]]:
        wide = replace(self.found, settings=replace(self.found.settings, k=count))
        return lookup.sources(wide, [row.input for row, _ in rows], self.run.engines)


def best_weight(hits: Sequence[Sequence[Hit]], given: Sequence[Any], gold: Sequence[frozenset[str]]) -> float:
    """The weight of a reranker's scores with the best nDCG@10; `given`: its scores of the first hits of each question."""

    def mean(weight: float) -> float:
        return float(np.mean([ndcg(_order(one, scores, weight), right) for one, scores, right in zip(hits, given, gold)]))

    return max(WEIGHTS, key=lambda weight: round(mean(weight), 9))


def _order(hits: Sequence[Hit], scores: Sequence[float], weight: float) -> list[str]:
    both = mixed([hit.score for hit in hits[: len(scores)]], scores, weight)
    order = sorted(range(len(both)), key=lambda i: -both[i])
    return [hits[i].passage.id for i in (*order, *range(len(both), len(hits)))]


def _log_likelihood(given: Sequence[Any], right: Sequence[Sequence[bool]]) -> float:
    """Mean log-probability in nats of the right passages among those read; questions without any of both kinds are left out."""
    each = [
        np.logaddexp.reduce(scores[np.array(known)]) - np.logaddexp.reduce(scores)
        for scores, known in zip(given, right)
        if any(known) and not all(known)
    ]
    return float(np.mean(each)) if each else 0.0
