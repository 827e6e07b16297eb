"""Encoder-contrastive: a small sentence encoder tuned on pairs of train rows, and the head of `encoder` on it.

SetFit (https://arxiv.org/abs/2209.11055) with the supervised contrastive loss (https://arxiv.org/abs/2004.11362).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from rung import files
from rung.lm.base import ModelRef
from rung.lm.inference.encoder import ENCODER, log_odds, save_head
from rung.machine import MODEL_OPEN_SECONDS, Machine
from rung.methods import tuning
from rung.methods.base import Family, Run
from rung.methods.estimate import CostEstimate
from rung.methods.facts import Facts
from rung.methods.head_options import HeadOptions
from rung.methods.linear_head import LabelTexts, LinearHead, as_chosen, label_text, log_likelihoods
from rung.methods.option import Count, Rate
from rung.methods.other_label import LeftOut, choose_once
from rung.predictor import Demos, Predictor, folder_digest
from rung.types import Example, Need, TrainData

if TYPE_CHECKING:
    from rung.lm.inference.embed import Embedder
    from rung.lm.inference.encoder import OtherLabel
    from rung.lm.training.train import History

HELD = 0.2
"""Share of train that the steps and the head's settings are chosen on."""
ENOUGH = 40
"""Train rows below which none can be spared to choose by: the encoder stays as it is."""
NEAR = 0.98
"""Share right of the untouched encoder in cross-validation from which there is too little to gain."""
CHECKS = 3
"""Times that the held-back rows are scored during training."""
PATIENCE = 1
"""Checks without a better score after which training ends."""
CHOICE, CHOOSING, TRAINING, OTHER = "choice.json", "work/choosing", "work/training", "work/other"
"""In a fit's folder: what was chosen, and checkpoints."""
LONGEST = 128
"""Tokens of a text that training reads; answering reads more."""


@dataclass(frozen=True, kw_only=True)
class EncoderContrastive(HeadOptions):
    name: ClassVar[str] = "encoder-contrastive"
    family: ClassVar[Family] = Family.ENCODER
    needs: ClassVar[frozenset[Need]] = frozenset({Need.EXAMPLES, Need.LABELS})
    own_model: ClassVar[bool] = True
    checkpoints: ClassVar[bool] = True
    fit_version: ClassVar[int] = 2
    costs_like: ClassVar[str] = "encoder"

    steps: Count = 60
    """Steps of training at most; a fifth of train, held back, chooses how many, and then all of train is trained on."""
    batch: Count = 32
    """Texts a step, which are all compared with each other."""
    temperature: Rate = 0.1
    """Of the similarities in the loss; lower looks at the nearest texts more."""
    learning_rate: Rate = 1e-4
    """Highest step size."""

    def estimate(self, start: CostEstimate, facts: Facts, machine: Machine) -> CostEstimate:
        embedding = machine.prefill_seconds(facts.encoder_computing, round(facts.input_tokens))
        tokens = round(self.batch * min(facts.input_tokens, LONGEST))
        training = machine.training_seconds(facts.encoder_computing, 1.0, tokens, 2 * self.steps)
        solving = 2e-6 * facts.train_rows * max(2, facts.labels) * 2 * (len(self.strengths) + len(self.name_weights)) * 5
        return CostEstimate(
            fit_seconds=start.fit_seconds
            + 2 * MODEL_OPEN_SECONDS
            + (CHECKS + 3) * facts.train_rows * embedding
            + training
            + solving,
            prompt_tokens=0,
            row_seconds=embedding,
            memory_bytes=tuning.memory(facts.encoder_parameters, 1.0, tokens, machine),
        )

    def fit(self, start: Predictor, data: TrainData, run: Run) -> Predictor:
        from rung.lm.training import contrastive

        training = _Training(self, start, run)
        rows = [row for row in data.examples if not start.other or row.output != start.other]
        choice = training.choose(rows)
        tuned = training.tuned(rows, choice, TRAINING)
        other = training.other(data.examples, choice, tuned) if start.other else None
        written = run.folder / "model"
        written.mkdir()
        if tuned.embedder:
            contrastive.save(tuned.embedder, written / ENCODER)
        save_head(written, tuned.head.weight, tuned.head.bias, tuned.head.labels, other)
        run.notes.update(tuned.notes | choice.head, steps=choice.steps, held=choice.scores)
        shutil.rmtree(run.folder / "work", ignore_errors=True)
        digest = run.engines.find(start.encoder).digest
        ref = ModelRef("encoder", start.encoder, digest, str(written), folder_digest(written))
        return replace(start, model=ref, demos=Demos())


@dataclass(frozen=True)
class _Choice:
    """What rows of train that are held back say."""

    steps: int
    """0: the encoder stays as it is."""
    scores: list[float]
    """Mean log-likelihood of their labels before training and at each check; empty where none was trained."""
    head: dict[str, Any]
    """The head's settings, as in `LinearHead.notes`."""


@dataclass(frozen=True)
class _Tuned:
    """A head and the encoder that it stands on; None: the untouched one."""

    head: LinearHead
    embedder: Embedder | None = None
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Training:
    """One fit."""

    method: EncoderContrastive
    start: Predictor
    run: Run

    def choose(self, rows: Sequence[Example]) -> _Choice:
        """For how many steps to tune, and the head's settings: remembered, so that a killed fit does not choose again."""
        remembered = self.run.folder / "work" / CHOICE
        if remembered.exists():
            return _Choice(**json.loads(remembered.read_text(encoding="utf-8")))
        frozen = self.head(self.method, None, self.vectors(None, rows), _outputs(rows))
        numbers = self._held(rows, frozen)
        choice = self._on_held(rows, numbers) if numbers else _Choice(0, [], {})
        choice = choice if choice.steps else replace(choice, head=frozen.notes)
        remembered.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(remembered, json.dumps(asdict(choice)))
        return choice

    def _on_held(self, rows: Sequence[Example], numbers: Sequence[int]) -> _Choice:
        """By an encoder tuned on the other rows: it must be better than the untouched one by more than a standard error."""
        embedder, outputs = self._opened(), _outputs(rows)
        middle = self.method.strengths[len(self.method.strengths) // 2]

        def likelihoods(vectors: Any) -> Any:
            return log_likelihoods(vectors, outputs, numbers, middle)

        def score() -> float:
            return float(likelihoods(self.vectors(embedder, rows)).mean())

        before = likelihoods(self.vectors(None, rows))
        left = set(numbers)
        learn = [row for i, row in enumerate(rows) if i not in left]
        history = self._train(embedder, learn, self.method.steps, CHOOSING, score)
        after = self.vectors(embedder, rows)
        gains = likelihoods(after) - before
        scores = [round(float(one), 4) for one in (before.mean(), *history.scores)]
        if gains.mean() <= gains.std() / len(gains) ** 0.5:
            return _Choice(0, scores, {})
        best = 1 + max(range(len(history.scores)), key=lambda k: (history.scores[k], -k))
        steps = min(self.method.steps, -(-self.method.steps // CHECKS) * best)
        self.run.progress("choosing the head", 0.5)
        return _Choice(steps, scores, self.head(self.method, embedder, after, outputs, numbers).notes)

    def tuned(self, rows: Sequence[Example], choice: _Choice, place: str) -> _Tuned:
        """The encoder tuned on all of these rows as chosen, and its head. `place`: the folder of checkpoints in the fit's own."""
        from rung.lm.training import train

        chosen, embedder, notes = replace(self.method, **as_chosen(choice.head)), None, dict[str, Any]()
        if choice.steps:
            embedder = self._opened()
            notes = train.notes(embedder.model, self._train(embedder, rows, choice.steps, place))
        self.run.progress("training the head", 0.9)
        return _Tuned(self.head(chosen, embedder, self.vectors(embedder, rows), _outputs(rows)), embedder, notes)

    def other(self, rows: Sequence[Example], choice: _Choice, tuned: _Tuned) -> OtherLabel | None:
        """When none of the labels is answered: by an encoder that is tuned without some of them."""
        if not tuned.embedder:
            vectors, texts = self.vectors(None, rows), self._names(None)
            return self.method.other(self.start.other, vectors, _outputs(rows), tuned.head, texts, self.run)

        def confidences(part: LeftOut) -> tuple[Any, Any]:
            less = self.tuned([rows[i] for i in part.learn], choice, OTHER)
            asked = [self.vectors(less.embedder, [rows[i] for i in some]) for some in (part.known, part.out)]
            known, out = (log_odds(less.head.logits(vectors)) for vectors in asked)
            return known, out

        return choose_once(self.start.other, rows, confidences, self.run)

    def vectors(self, embedder: Embedder | None, rows: Sequence[Example]) -> Any:
        """(rows, width) by an encoder, or by the untouched one."""
        inputs = [row.input for row in rows]
        return embedder.embed(inputs) if embedder else self.run.engines.vectors(self.start.encoder, inputs)

    def head(
        self,
        method: EncoderContrastive,
        embedder: Embedder | None,
        vectors: Any,
        outputs: Sequence[str],
        held: Sequence[int] = (),
    ) -> LinearHead:
        """A method's head on vectors of an encoder."""
        return method.head(vectors, outputs, self._names(embedder), self.run, held)

    def _names(self, embedder: Embedder | None) -> LabelTexts:
        names = list(map(label_text, self.start.labels, self.start.descriptions))
        found = embedder.embed(names) if embedder else self.run.engines.vectors(self.start.encoder, names)
        return LabelTexts(self.start.labels, found)

    def _opened(self) -> Embedder:
        """The untouched encoder, opened anew: training changes it in place."""
        from rung.lm.inference.embed import Embedder

        return Embedder(self.run.engines.find(self.start.encoder).folder, self.run.engines.machine)

    def _held(self, rows: Sequence[Example], frozen: LinearHead) -> list[int]:
        """Numbers of the rows to hold back; none where the encoder is to stay as it is, which is reported."""
        say = tuning.watch(self.run).say
        if frozen.held is not None and frozen.held >= NEAR:
            say(f"the encoder stays as it is: of train rows held back it has {frozen.held:.3f} right")
            return []
        learn, held = tuning.hold_back(rows, HELD, self.run.seed, self.start.taught)
        known = set(_outputs(learn))
        if len(rows) < ENOUGH or len(known) < 2 or known.isdisjoint(_outputs(held)):
            say("the encoder stays as it is: too few rows to hold any back")
            return []
        left = set(held)
        return [i for i, row in enumerate(rows) if row in left]

    def _train(
        self, embedder: Embedder, rows: Sequence[Example], steps: int, place: str, score: Callable[[], float] | None = None
    ) -> History:
        """Tune the untouched embedder; with `score`, until it no longer rises, and to what scored best."""
        from rung.lm.training import contrastive, train

        labels = sorted(set(_outputs(rows)))
        numbers = [labels.index(row.output) for row in rows]
        many = len(labels) > self.method.batch // 2
        drawn = contrastive.shuffled if many else contrastive.batches
        read = contrastive.tokenize(embedder, [row.input for row in rows], LONGEST)
        batches = drawn(read, numbers, steps=steps, size=self.method.batch, seed=self.run.seed)
        memory = contrastive.Memory.of(self.vectors(None, rows), numbers) if many else None
        items, loss = contrastive.items(embedder.model.tokenizer.pad_token_id or 0, self.method.temperature, memory)
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
        loaded, watch = contrastive.loaded(embedder), tuning.watch(self.run)
        return train.run(loaded, batches, plan, self.run.folder / place, loss=loss, items=items, validate=score, watch=watch)


def _outputs(rows: Sequence[Example]) -> list[str]:
    return [one.output for one in rows]
