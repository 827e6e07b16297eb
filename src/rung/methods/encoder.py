"""Encoder: a frozen small sentence encoder and a trained linear head. For closed labels it often wins at little cost.

SetFit (https://arxiv.org/abs/2209.11055) without the contrastive step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from rung import label_sets
from rung.lm.base import ModelRef
from rung.lm.inference.encoder import save_head
from rung.lm.inference.label_sets import save_head as save_label_set_head
from rung.machine import MODEL_OPEN_SECONDS, Machine
from rung.methods.base import Family, Run
from rung.methods.estimate import CostEstimate, process_bytes
from rung.methods.facts import Facts
from rung.methods.head_options import HeadOptions
from rung.methods.label_set_head import fit_label_set_head
from rung.methods.linear_head import LabelTexts, label_text
from rung.predictor import Demos, Predictor, folder_digest
from rung.types import Need, TrainData


@dataclass(frozen=True, kw_only=True)
class Encoder(HeadOptions):
    name: ClassVar[str] = "encoder"
    family: ClassVar[Family] = Family.ENCODER
    needs: ClassVar[frozenset[Need]] = frozenset({Need.EXAMPLES, Need.CLASSES})
    own_model: ClassVar[bool] = True
    fit_version: ClassVar[int] = 4
    folds: ClassVar[int] = 10

    def estimate(self, start: CostEstimate, facts: Facts, machine: Machine) -> CostEstimate:
        embedding = machine.prefill_seconds(facts.encoder_computing, round(facts.input_tokens))
        labels = max(2, facts.labels, facts.label_set)
        solving = 2e-6 * facts.train_rows * labels * (len(self.strengths) + len(self.name_weights)) * 5
        return CostEstimate(
            fit_seconds=start.fit_seconds + MODEL_OPEN_SECONDS + facts.train_rows * embedding + solving,
            prompt_tokens=0,
            row_seconds=embedding,
            memory_bytes=process_bytes(machine) + 4 * facts.encoder_parameters,
        )

    def fit(self, start: Predictor, data: TrainData, run: Run) -> Predictor:
        run.progress("embedding the examples", 0.0)
        vectors = run.engines.vectors(start.encoder, [example.input for example in data.examples])
        files = run.folder / "model"
        files.mkdir()
        run.progress("training the head", 0.5)
        if start.label_set:
            self._fit_label_set(start, data, vectors, run)
        else:
            self._fit_labels(start, data, vectors, run)
        digest = run.engines.find(start.encoder).digest
        return replace(start, model=ModelRef("encoder", start.encoder, digest, str(files), folder_digest(files)), demos=Demos())

    def _fit_labels(self, start: Predictor, data: TrainData, vectors: Any, run: Run) -> None:
        """The head for one label a row."""
        names = run.engines.vectors(start.encoder, list(map(label_text, start.labels, start.descriptions)))
        texts = LabelTexts(start.labels, names)
        outputs = [example.output for example in data.examples]
        own = [i for i, label in enumerate(outputs) if not start.other or label != start.other]
        head = self.head(vectors[own], [outputs[i] for i in own], texts, run)
        run.notes.update(head.notes)
        other = self.other(start.other, vectors, outputs, head, texts, run) if start.other else None
        save_head(run.folder / "model", head.weight, head.bias, head.labels, other)

    def _fit_label_set(self, start: Predictor, data: TrainData, vectors: Any, run: Run) -> None:
        """The head for several labels a row."""
        outputs = [label_sets.split(example.output) for example in data.examples]
        head = fit_label_set_head(vectors, outputs, start.label_set, self.strengths, run.seed)
        always = all(outputs)
        save_label_set_head(run.folder / "model", head.weight, head.bias, head.thresholds, start.label_set, always)
        run.notes.update(C=head.strength, thresholds=[round(float(one), 3) for one in head.thresholds])
