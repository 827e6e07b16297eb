"""RAG whose query encoder is tuned on train rows: on each question with the passages that answer it.

The passages keep their vectors, so the index stays as it is and a step computes questions alone. The tuned embedder is used
only if held-back rows show that the search finds more with it; otherwise the rung is `rag`. After it a reranker may be tuned in
the same way (`rung.methods.rag_reranker`).
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rung.machine import MODEL_OPEN_SECONDS, Machine
from rung.methods import rag_reranker, retrieval_gain, stages, tuning
from rung.methods.base import Method, Run
from rung.methods.estimate import CostEstimate
from rung.methods.facts import Facts
from rung.methods.option import Count, Rate
from rung.methods.rag import ASKED, Known, Rag, answers
from rung.methods.retrieval_gain import Parts
from rung.predictor import folder_digest
from rung.retrieve import knowledge, negatives
from rung.retrieve.lookup import Lookup
from rung.types import Example, Need

if TYPE_CHECKING:
    from rung.lm.inference.embed import Embedder

LEAST = 100
"""Fewest rows with a known passage."""
CHECKS, PATIENCE = 6, 2
"""Times that the choosing rows are scored, and checks without a better score after which training ends."""


@dataclass(frozen=True, kw_only=True)
class RagTuned(Rag):
    name: ClassVar[str] = "rag-tuned"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.DOCUMENTS, Need.EXAMPLES})
    fit_version: ClassVar[int] = 3
    asked: ClassVar[int] = 5000
    folds: ClassVar[int] = Method.folds
    checkpoints: ClassVar[bool] = True
    quick: ClassVar[bool] = False

    steps: Count = 120
    """Steps of training at most; rows held back choose how many."""
    batch: Count = 64
    """Questions a step; each is compared with the passages of all."""
    temperature: Rate = 0.05
    """Of the similarities in the loss; lower looks at the nearest passages more."""
    learning_rate: Rate = 5e-5
    """Highest step size."""
    tune_reranker: bool = False
    """Also tune a cross-encoder: from `rerank`, or else from the task's encoder. It reads 8 passages a question."""

    def again(self, notes: Mapping[str, Any]) -> Method:
        """`rag` where nothing tuned was used, so that the fits of parts are alike and take seconds."""
        if any(notes.get(part, {}).get("kept", True) for part in ("tuned", *(["reranker"] if self.tune_reranker else []))):
            return self
        return Rag(**{one.name: getattr(self, one.name) for one in fields(Rag)})

    def estimate(self, start: CostEstimate, facts: Facts, machine: Machine) -> CostEstimate:
        plain = super().estimate(start, facts, machine)
        if facts.train_rows < LEAST:
            return plain
        step = round(self.batch * facts.input_tokens)
        scoring = (2 + CHECKS) * facts.train_rows * machine.prefill_seconds(facts.encoder_computing, round(facts.input_tokens))
        found = replace(
            plain,
            fit_seconds=plain.fit_seconds
            + MODEL_OPEN_SECONDS
            + machine.training_seconds(facts.encoder_computing, 1.0, step, self.steps)
            + scoring,
            memory_bytes=max(plain.memory_bytes, tuning.memory(facts.encoder_parameters, 1.0, step, machine)),
        )
        return rag_reranker.estimate(found, facts, machine, self.size, self.rerank) if self.tune_reranker else found

    def searching(self, found: Lookup, known: Known, run: Run) -> tuple[Lookup, Known]:
        parts = retrieval_gain.parts(known, run.seed)
        few = "" if len(known) >= LEAST else f"{len(known)} rows with a known passage, of at least {LEAST}"
        if why := few or parts.too_few:
            untuned = {"kept": False, "why": why}
            run.notes.update({"tuned": untuned} | ({"reranker": untuned} if self.tune_reranker else {}))
            return super().searching(found, known, run)
        found, unseen = self._with_embedder(found, known, parts, run)
        reranked = self._with_reranker(found, parts, run) if self.tune_reranker else None
        shutil.rmtree(run.folder / "work")
        return (reranked, parts.unseen) if reranked else (self.with_settings(found, unseen[:ASKED], run), unseen)

    def _with_embedder(self, found: Lookup, known: Known, parts: Parts, run: Run) -> tuple[Lookup, Known]:
        """The lookup with a tuned query encoder if it gains, and the rows that it did not learn from."""
        files, notes = stages.once(run, "questions", _Fitting(self, found, parts, run).train)
        run.notes.update(notes)
        tuned = replace(found, files=str(files), files_digest=folder_digest(files))
        before = self.with_settings(found, [*parts.learn, *parts.choose], run)
        after = self.with_settings(tuned, parts.choose, run)
        run.notes["tuned"] = retrieval_gain.compared(_plain(before), _plain(after), parts, run)
        if run.notes["tuned"]["kept"]:
            return tuned, parts.unseen
        shutil.rmtree(files)
        return found, known

    def _with_reranker(self, found: Lookup, parts: Parts, run: Run) -> Lookup | None:
        """The lookup with a tuned reranker and the settings that it was measured with; None if it gains nothing."""
        unseen = parts.choose if found.files else [*parts.learn, *parts.choose]
        return rag_reranker.tuned(self.with_settings(found, unseen, run), parts, run)


@dataclass(frozen=True)
class _Fitting:
    """One fit of the query encoder."""

    method: RagTuned
    found: Lookup
    given: Parts
    run: Run

    def train(self, files: Path, place: Path) -> dict[str, Any]:
        """Write the embedder tuned on the rows `learn`, at the step that does best on the rows `choose`; the training's notes."""
        from rung.lm.inference.embed import Embedder
        from rung.lm.training import contrastive, questions, train

        run, method = self.run, self.method
        embedder = Embedder(run.engines.find(self.found.embedder).folder, run.engines.machine)  # changed in place
        known = negatives.corpus(knowledge.open_kept(self.found.index, run.engines))
        pairings = self._pairings(embedder, known)
        asked, right = _places(self.given.choose, known)

        def score() -> float:
            vectors = embedder.embed([row.input for row in asked])
            return questions.log_likelihood(vectors, right, known.vectors, method.temperature)

        items, loss = questions.items(embedder.model.tokenizer.pad_token_id or 0, known.vectors, method.temperature)
        plan = train.TrainConfig(
            learning_rate=method.learning_rate,
            epochs=1,
            batch=1,
            tokens=2**30,  # a batch is never split: its questions share their passages
            weight_decay=0.01,
            patience=PATIENCE,
            evaluations=CHECKS,
            seed=run.seed,
        )
        steps = questions.batches(pairings, steps=method.steps, size=method.batch, seed=run.seed)
        loaded, watch = contrastive.loaded(embedder), tuning.watch(run)
        history = train.run(loaded, steps, plan, place, loss=loss, items=items, validate=score, watch=watch)
        contrastive.save(embedder, files)
        return train.notes(embedder.model, history)

    def _pairings(self, embedder: Embedder, known: negatives.Corpus) -> list[Any]:
        """What is learnt from: each question with its passages and with hard negatives."""
        from rung.lm.training import contrastive, questions

        store = knowledge.open_kept(self.found.index, self.run.engines)
        rows, gold = _places(self.given.learn, known)
        inputs = [row.input for row in rows]
        mined = negatives.mine(store, known, inputs, embedder.embed(inputs), gold, [partial(answers, row) for row in rows])
        return [
            questions.Pairing(row, tuple(right), one.hard, one.doubtful)
            for row, right, one in zip(contrastive.tokenize(embedder, inputs), gold, mined)
        ]


def _places(rows: Known, known: negatives.Corpus) -> tuple[list[Example], list[list[int]]]:
    """Rows that have an open passage, and the places of these passages."""
    places = {passage.id: place for place, passage in enumerate(known.passages)}
    found = [(row, sorted(places[name] for name in gold if name in places)) for row, gold in rows]
    return [row for row, gold in found if gold], [gold for _, gold in found if gold]


def _plain(found: Lookup) -> Lookup:
    """The lookup without the cross-encoder that the task names: embedders are compared by what they find themselves."""
    return replace(found, settings=replace(found.settings, rerank=""))
