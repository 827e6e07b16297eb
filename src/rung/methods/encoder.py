"""Encoder: a frozen small sentence encoder and a trained linear head. For closed labels it often wins at little cost.

SetFit (https://arxiv.org/abs/2209.11055) without the contrastive step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

from annotated_types import MinLen

from rung import label_sets
from rung.lm.base import ModelRef
from rung.lm.inference.encoder import OtherLabel, save_head
from rung.lm.inference.label_sets import save_head as save_label_set_head
from rung.machine import MODEL_OPEN_SECONDS, Machine
from rung.methods.base import Family, Method, MetricUse, Run
from rung.methods.estimate import CostEstimate
from rung.methods.facts import Facts
from rung.methods.label_set_head import fit_label_set_head
from rung.methods.linear_head import Balance, LabelTexts, LinearHead, as_chosen, fit_head, label_text
from rung.methods.option import Rate, Weight
from rung.methods.other_label import choose_other
from rung.predictor import Demos, Predictor, folder_digest
from rung.types import Need, TrainData


@dataclass(frozen=True, kw_only=True)
class Encoder(Method):
    name: ClassVar[str] = "encoder"
    family: ClassVar[Family] = Family.ENCODER
    needs: ClassVar[frozenset[Need]] = frozenset({Need.EXAMPLES, Need.CLASSES})
    own_model: ClassVar[bool] = True
    fit_version: ClassVar[int] = 3
    metric_use: ClassVar[MetricUse] = MetricUse.ALWAYS
    folds: ClassVar[int] = 10

    strengths: Annotated[tuple[Rate, ...], MinLen(1)] = (1.0, 3.0, 10.0, 30.0, 100.0)
    """Inverse regularisation strengths (C) of the logistic regression to choose from, by cross-validation on train."""
    name_weights: Annotated[tuple[Weight, ...], MinLen(1)] = (0.0, 2.0)
    """How many examples a label's name and description count for, to choose from by cross-validation on train; 0: none."""
    balance: Balance = "auto"
    """Whether rare labels weigh as much as common ones: auto chooses by cross-validation on train, by the task's own metric."""

    def again(self, notes: Mapping[str, Any]) -> Method:
        balance: dict[str, Any] = {"balance": "always" if notes["balanced"] else "never"} if "balanced" in notes else {}
        return replace(self, **as_chosen(notes), **balance)

    def estimate(self, start: CostEstimate, facts: Facts, machine: Machine) -> CostEstimate:
        embedding = machine.prefill_seconds(facts.encoder_computing, round(facts.input_tokens))
        labels = max(2, facts.labels, facts.label_set)
        solving = 2e-6 * facts.train_rows * labels * (len(self.strengths) + len(self.name_weights)) * 5
        return CostEstimate(
            fit_seconds=start.fit_seconds + MODEL_OPEN_SECONDS + facts.train_rows * embedding + solving,
            prompt_tokens=0,
            row_seconds=embedding,
            memory_bytes=4 * facts.encoder_parameters,
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
        head = self._head(vectors[own], [outputs[i] for i in own], texts, run)
        run.notes.update(C=head.strength, name_weight=head.name_weight, balanced=head.balanced)
        other = self._other(start, vectors, outputs, head, texts, run) if start.other else None
        save_head(run.folder / "model", head.weight, head.bias, head.labels, other)

    def _head(self, vectors: Any, outputs: Sequence[str], texts: LabelTexts, run: Run) -> LinearHead:
        return fit_head(
            vectors, outputs, self.strengths, self.name_weights, texts, run.seed, self.balance, run.counts_labels_alike
        )

    def _other(
        self, start: Predictor, vectors: Any, outputs: Sequence[str], head: LinearHead, texts: LabelTexts, run: Run
    ) -> OtherLabel | None:
        """When the head answers that none of the labels fits."""

        def fit(some: Any, labels: Sequence[str]) -> tuple[Any, Any]:
            balance: Balance = "always" if head.balanced else "never"
            alike = fit_head(some, labels, (head.strength,), (head.name_weight,), texts, run.seed, balance)
            return alike.weight, alike.bias

        found = choose_other(vectors, outputs, start.other, fit, run.seed)
        if isinstance(found, str):
            run.notes["other"] = f"never: {found}"
            return None
        run.notes["other"] = {name: round(getattr(found, name), 4) for name in ("auc", "found", "lost", "rows")}
        return found.rule

    def _fit_label_set(self, start: Predictor, data: TrainData, vectors: Any, run: Run) -> None:
        """The head for several labels a row."""
        outputs = [label_sets.split(example.output) for example in data.examples]
        head = fit_label_set_head(vectors, outputs, start.label_set, self.strengths, run.seed)
        always = all(outputs)
        save_label_set_head(run.folder / "model", head.weight, head.bias, head.thresholds, start.label_set, always)
        run.notes.update(C=head.strength, thresholds=[round(float(one), 3) for one in head.thresholds])
