"""Encoder-contrastive: a small sentence encoder tuned on pairs of train rows, and the head of `encoder` on it.

SetFit (https://arxiv.org/abs/2209.11055) with the supervised contrastive loss (https://arxiv.org/abs/2004.11362).
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from annotated_types import MinLen

from rung import files
from rung.lm.base import ModelRef
from rung.lm.inference.encoder import ENCODER, save_head
from rung.machine import MODEL_OPEN_SECONDS, Machine
from rung.methods import tuning
from rung.methods.base import Family, Method, Run
from rung.methods.estimate import CostEstimate
from rung.methods.facts import Facts
from rung.methods.linear_head import LabelTexts, LinearHead, as_chosen, fit_head, label_text
from rung.methods.option import Count, Rate, Weight
from rung.predictor import Demos, Predictor, folder_digest
from rung.types import Example, Need, TrainData

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rung.lm.inference.embed import Embedder
    from rung.lm.training.train import History

HELD = 0.2
"""Share of train that the number of steps is chosen by."""
LEAST = 32
"""Fewest rows to train on beside those held back."""
CHECKS = 5
"""Times that the held-back rows are scored."""
PATIENCE = 2
"""Checks without a better score after which the choosing ends."""
CHOICE = "steps.json"
"""Remembers the number of steps, so that a fit that was interrupted does not choose again."""


@dataclass(frozen=True, kw_only=True)
class EncoderContrastive(Method):
    name: ClassVar[str] = "encoder-contrastive"
    family: ClassVar[Family] = Family.ENCODER
    needs: ClassVar[frozenset[Need]] = frozenset({Need.EXAMPLES, Need.LABELS})
    own_model: ClassVar[bool] = True
    checkpoints: ClassVar[bool] = True
    fit_version: ClassVar[int] = 1

    steps: Count = 150
    """Steps of training at most; a fifth of train, held back, chooses how many, and then all of train is trained on."""
    batch: Count = 48
    """Texts a step, which are all compared with each other."""
    temperature: Rate = 0.1
    """Of the similarities in the loss; lower looks at the nearest texts more."""
    learning_rate: Rate = 3e-5
    """Highest step size."""
    strengths: Annotated[tuple[Rate, ...], MinLen(1)] = (1.0, 3.0, 10.0, 30.0, 100.0)
    """Inverse regularisation strengths (C) of the head to choose from, by cross-validation on train."""
    name_weights: Annotated[tuple[Weight, ...], MinLen(1)] = (0.0, 2.0)
    """How many examples a label's name and description count for in the head, to choose from by cross-validation; 0: none."""

    def again(self, notes: Mapping[str, Any]) -> Method:
        return replace(self, **as_chosen(notes))

    def estimate(self, start: CostEstimate, facts: Facts, machine: Machine) -> CostEstimate:
        embedding = machine.prefill_seconds(facts.encoder_computing, round(facts.input_tokens))
        training = machine.training_seconds(facts.encoder_computing, 1.0, round(self.batch * facts.input_tokens), 2 * self.steps)
        solving = 2e-6 * facts.train_rows * max(2, facts.labels) * 2 * (len(self.strengths) + len(self.name_weights)) * 5
        return CostEstimate(
            fit_seconds=start.fit_seconds
            + 2 * MODEL_OPEN_SECONDS
            + (CHECKS + 2) * facts.train_rows * embedding
            + training
            + solving,
            prompt_tokens=0,
            row_seconds=embedding,
            memory_bytes=tuning.memory(facts.encoder_parameters, 1.0, round(self.batch * facts.input_tokens)),
        )

    def fit(self, start: Predictor, data: TrainData, run: Run) -> Predictor:
        from rung.lm.training import contrastive, train

        training = _Training(self, start, data, run)
        steps, held = training.choose_steps()
        embedder = training.embedder()
        if steps:
            history = training.train(embedder, data.examples, steps)
            run.notes.update(train.notes(embedder.model, history))
        run.progress("training the head", 0.9)
        head = training.head(embedder, data.examples)
        written = run.folder / "model"
        written.mkdir()
        contrastive.save(embedder, written / ENCODER)
        save_head(written, head.weight, head.bias, head.labels)
        run.notes.update(steps=steps, held=held, C=head.strength, name_weight=head.name_weight)
        shutil.rmtree(run.folder / "work")  # the number of steps is in the notes now
        digest = run.engines.find(start.encoder).digest
        ref = ModelRef("encoder", start.encoder, digest, str(written), folder_digest(written))
        return replace(start, model=ref, demos=Demos())


@dataclass(frozen=True)
class _Training:
    """One fit: its rows, and what is done with them."""

    method: EncoderContrastive
    start: Predictor
    data: TrainData
    run: Run

    def embedder(self) -> Embedder:
        """The untouched encoder, opened anew: training changes it in place."""
        from rung.lm.inference.embed import Embedder

        return Embedder(self.run.engines.find(self.start.encoder).folder, self.run.engines.machine)

    def choose_steps(self) -> tuple[int, list[float]]:
        """How many steps do best on held-back rows, and their mean log-likelihood before training and at each check.

        0 steps where the untouched encoder does best; all, and no figures, where too few rows can be spared.
        """
        remembered = self.run.folder / "work" / CHOICE
        if remembered.exists():
            steps, scores = json.loads(remembered.read_text(encoding="utf-8"))
            return steps, scores
        learn, held = tuning.hold_back(self.data.examples, HELD, self.run.seed, self.start.taught)
        known = {one.output for one in learn}
        test = [one for one in held if one.output in known]
        if not test or len(learn) < LEAST:
            tuning.watch(self.run).say("too few rows to hold any back: all steps are taken")
            steps, scores = self.method.steps, []
        else:
            embedder = self.embedder()
            score = partial(self._log_likelihood, embedder, learn, test)
            before = score()
            history = self.train(embedder, learn, self.method.steps, score)
            scores = [round(one, 4) for one in (before, *history.scores)]
            gap = -(-self.method.steps // CHECKS)
            steps = min(self.method.steps, gap * max(range(len(scores)), key=lambda k: (scores[k], -k)))
        remembered.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(remembered, json.dumps([steps, scores]))
        return steps, scores

    def train(self, embedder: Embedder, rows: Sequence[Example], steps: int, score: Callable[[], float] | None = None) -> History:
        """Tune the embedder on rows of train; with `score`, until it stops rising."""
        from rung.lm.training import contrastive, train

        loaded = contrastive.loaded(embedder)
        inputs, outputs = _columns(rows)
        labels = sorted(set(outputs))
        numbers = [labels.index(one) for one in outputs]
        batches = contrastive.batches(
            contrastive.tokenize(embedder, inputs),
            numbers,
            _means(embedder.embed(inputs), numbers, len(labels)),
            steps=steps,
            size=self.method.batch,
            seed=self.run.seed,
        )
        items, loss = contrastive.items(embedder.model.tokenizer.pad_token_id or 0, self.method.temperature)
        plan = train.TrainConfig(
            learning_rate=self.method.learning_rate,
            epochs=1,
            batch=1,
            tokens=2**30,  # a batch is never split: its texts are compared with each other
            weight_decay=0.01,
            patience=PATIENCE if score else 0,
            evaluations=CHECKS if score else 0,
            seed=self.run.seed,
        )
        folder = self.run.folder / "work" / ("choosing" if score else "training")
        return train.run(loaded, batches, plan, folder, loss=loss, items=items, validate=score, watch=tuning.watch(self.run))

    def head(self, embedder: Embedder, rows: Sequence[Example]) -> LinearHead:
        inputs, outputs = _columns(rows)
        names = embedder.embed(list(map(label_text, self.start.labels, self.start.descriptions)))
        texts = LabelTexts(self.start.labels, names)
        method = self.method
        return fit_head(embedder.embed(inputs), outputs, method.strengths, method.name_weights, texts, self.run.seed)

    def _log_likelihood(self, embedder: Embedder, learn: Sequence[Example], test: Sequence[Example]) -> float:
        """Mean log-probability in nats of the labels of held-back rows, by a head of middle strength on the others.

        Accuracy would tie: a few dozen rows are held back, and most are right before training and after it.
        """
        import numpy as np

        inputs, outputs = _columns(learn)
        held, wanted = _columns(test)
        middle = self.method.strengths[len(self.method.strengths) // 2 :][:1]
        none = LabelTexts((), np.zeros((0, 0)))
        head = fit_head(embedder.embed(inputs), outputs, middle, (0.0,), none, self.run.seed)
        scores = embedder.embed(held) @ head.weight.T + head.bias
        logs = scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)
        return float(np.mean([logs[i, head.labels.index(label)] for i, label in enumerate(wanted)]))


def _columns(rows: Sequence[Example]) -> tuple[list[str], list[str]]:
    """Inputs and labels of rows."""
    return [one.input for one in rows], [one.output for one in rows]


def _means(vectors: Any, labels: Sequence[int], count: int) -> Any:
    """Unit means of the vectors of each label; (labels, width)."""
    import numpy as np

    means = np.stack([vectors[np.asarray(labels) == k].mean(0) for k in range(count)])
    return means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
