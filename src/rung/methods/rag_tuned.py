"""RAG whose embedder of questions is tuned on train rows: on each question with the passages that answer it.

The passages keep their vectors, so the index stays as it is and a step computes questions alone. The tuned embedder is used
only if held-back rows show that the search finds more with it; otherwise the rung is `rag`.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from rung.machine import MODEL_OPEN_SECONDS, Machine
from rung.methods import tuning
from rung.methods.base import Run
from rung.methods.estimate import CostEstimate
from rung.methods.facts import Facts
from rung.methods.option import Count, Rate
from rung.methods.rag import Known, Rag, chosen
from rung.metrics.resample import paired_bootstrap
from rung.metrics.retrieval import ndcg
from rung.predictor import folder_digest
from rung.retrieve import knowledge, lookup, negatives
from rung.retrieve.ground import support
from rung.retrieve.lookup import Lookup
from rung.retrieve.passage import Passage
from rung.types import Example, Need

if TYPE_CHECKING:
    from rung.lm.inference.embed import Embedder
    from rung.retrieve.search import Settings
    from rung.types import Interval

LEAST = 100
"""Fewest rows with a known passage."""
HELD, CHOICE = 0.3, 0.2
"""Shares of them that the gain is measured on, and of the others that the number of steps and the search are chosen on."""
CHECKS, PATIENCE = 6, 2
"""Times that the choosing rows are scored, and checks without a better score after which training ends."""


@dataclass(frozen=True, kw_only=True)
class RagTuned(Rag):
    name: ClassVar[str] = "rag-tuned"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.DOCUMENTS, Need.EXAMPLES})
    fit_version: ClassVar[int] = 4
    asked: ClassVar[int] = 5000
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

    def estimate(self, start: CostEstimate, facts: Facts, machine: Machine) -> CostEstimate:
        plain = super().estimate(start, facts, machine)
        if facts.train_rows < LEAST:
            return plain
        step = round(self.batch * facts.input_tokens)
        scoring = (2 + CHECKS) * facts.train_rows * machine.prefill_seconds(facts.encoder_computing, round(facts.input_tokens))
        return replace(
            plain,
            fit_seconds=plain.fit_seconds
            + MODEL_OPEN_SECONDS
            + machine.training_seconds(facts.encoder_computing, 1.0, step, self.steps)
            + scoring,
            memory_bytes=max(plain.memory_bytes, tuning.memory(facts.encoder_parameters, 1.0, step, machine)),
        )

    def asking(self, found: Lookup, known: Known, run: Run) -> tuple[Lookup, Known]:
        if len(known) < LEAST:
            run.notes["tuned"] = {"kept": False, "why": f"{len(known)} rows with a known passage, of at least {LEAST}"}
            return found, known
        fitting = _Fitting(self, found, run)
        learn, choose, held = _parts(known, run.seed)
        tuned = fitting.tuned(learn, choose)
        before = fitting.scores(found, chosen([*learn, *choose], found, run), held)
        after = fitting.scores(tuned, chosen(choose, tuned, run), held)
        gain = paired_bootstrap(before, after, [min(gold) for _, gold in held])
        run.notes["tuned"] = _summary(gain, before, after, len(learn))
        if gain.low > 0:
            return tuned, [*choose, *held]
        shutil.rmtree(tuned.files)
        return found, known


@dataclass(frozen=True)
class _Fitting:
    """One fit of the embedder of questions, and how it is measured."""

    method: RagTuned
    found: Lookup
    run: Run

    def tuned(self, learn: Known, choose: Known) -> Lookup:
        """The lookup with an embedder tuned on the rows `learn`, at the step that does best on the rows `choose`."""
        from rung.lm.inference.embed import Embedder
        from rung.lm.training import contrastive

        run = self.run
        embedder = Embedder(run.engines.find(self.found.embedder).folder, run.engines.machine)  # changed in place
        self._train(embedder, learn, choose)
        files = run.folder / "questions"
        files.mkdir()
        contrastive.save(embedder, files)
        shutil.rmtree(run.folder / "work", ignore_errors=True)
        return replace(self.found, files=str(files), files_digest=folder_digest(files))

    def scores(self, found: Lookup, settings: Settings, rows: Known) -> list[float]:
        """nDCG@10 of each row."""
        asked = replace(found, settings=replace(settings, k=10))
        hits = lookup.sources(asked, [row.input for row, _ in rows], self.run.engines)
        return [ndcg([hit.passage.id for hit in one], gold) for one, (_, gold) in zip(hits, rows)]

    def _train(self, embedder: Embedder, learn: Known, choose: Known) -> None:
        from rung.lm.training import contrastive, questions, train

        method, store = self.method, knowledge.open_kept(self.found.index, self.run.engines)
        known = negatives.corpus(store)
        rows, gold = _places(learn, known)
        inputs = [row.input for row in rows]
        mined = negatives.mine(store, known, inputs, embedder.embed(inputs), gold, [partial(_answers, row) for row in rows])
        pairings = [
            questions.Pairing(row, tuple(right), one.hard, one.doubtful)
            for row, right, one in zip(contrastive.tokenize(embedder, inputs), gold, mined)
        ]
        asked, right = _places(choose, known)

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
            seed=self.run.seed,
        )
        steps = questions.batches(pairings, steps=method.steps, size=method.batch, seed=self.run.seed)
        place, watch = self.run.folder / "work", tuning.watch(self.run)
        history = train.run(contrastive.loaded(embedder), steps, plan, place, loss=loss, items=items, validate=score, watch=watch)
        self.run.notes.update(train.notes(embedder.model, history))


def _parts(known: Known, seed: int) -> tuple[Known, Known, Known]:
    """Rows to learn from, to choose by and to measure on; rows of one group or question stay together."""
    by_id = {row.id: (row, gold) for row, gold in known}
    rest, held = tuning.hold_back([row for row, _ in known], HELD, seed)
    learn, choose = tuning.hold_back(rest, CHOICE, seed + 1)
    learnt, chosen_on, measured = ([by_id[row.id] for row in part] for part in (learn, choose, held))
    return learnt, chosen_on, measured


def _places(rows: Known, known: negatives.Corpus) -> tuple[list[Example], list[list[int]]]:
    """Rows that have an open passage, and the places of these passages."""
    places = {passage.id: place for place, passage in enumerate(known.passages)}
    found = [(row, sorted(places[name] for name in gold if name in places)) for row, gold in rows]
    return [row for row, gold in found if gold], [gold for _, gold in found if gold]


def _answers(row: Example, passage: Passage) -> bool:
    """Whether a passage contains one of the row's answers, whatever source the row names."""
    return any(support(one, passage.text) == 1.0 for one in row.accepted)


def _summary(gain: Interval, before: Sequence[float], after: Sequence[float], learnt: int) -> dict[str, Any]:
    """For the record: nDCG@10 on the held-back rows with the embedder as it was and tuned."""
    return {
        "kept": gain.low > 0,
        "before": round(float(np.mean(before)), 4),
        "after": round(float(np.mean(after)), 4),
        "gain": str(gain),
        "learnt_from": learnt,
    } | ({} if gain.low > 0 else {"why": "no gain shown on the held-back rows"})
