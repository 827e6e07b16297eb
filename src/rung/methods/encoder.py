"""Encoder: a frozen small sentence encoder and a trained linear head. For closed labels it often wins at little cost.

SetFit (https://arxiv.org/abs/2209.11055) without the contrastive step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from annotated_types import MinLen

from rung.lm.base import ModelRef
from rung.lm.inference.encoder import save_head
from rung.machine import MODEL_OPEN_SECONDS, Machine
from rung.methods.base import Family, Method, Run
from rung.methods.estimate import CostEstimate
from rung.methods.facts import Facts
from rung.methods.option import Rate
from rung.predictor import Demos, Predictor, folder_digest
from rung.types import Need, TrainData


@dataclass(frozen=True, kw_only=True)
class Encoder(Method):
    name: ClassVar[str] = "encoder"
    family: ClassVar[Family] = Family.ENCODER
    needs: ClassVar[frozenset[Need]] = frozenset({Need.EXAMPLES, Need.LABELS})
    own_model: ClassVar[bool] = True
    fit_version: ClassVar[int] = 1

    strengths: Annotated[tuple[Rate, ...], MinLen(1)] = (1.0, 3.0, 10.0, 30.0, 100.0)
    """Inverse regularisation strengths (C) of the logistic regression to choose from, by cross-validation on train."""

    def estimate(self, start: CostEstimate, facts: Facts, machine: Machine) -> CostEstimate:
        embedding = machine.prefill_seconds(facts.encoder_computing, round(facts.input_tokens))
        solving = 2e-6 * facts.train_rows * max(2, facts.labels) * len(self.strengths) * 5
        return CostEstimate(
            fit_seconds=start.fit_seconds + MODEL_OPEN_SECONDS + facts.train_rows * embedding + solving,
            prompt_tokens=0,
            row_seconds=embedding,
            memory_bytes=4 * facts.encoder_parameters,
        )

    def fit(self, start: Predictor, data: TrainData, run: Run) -> Predictor:
        run.progress("embedding the examples", 0.0)
        vectors = run.engines.embedder(start.encoder).embed([example.input for example in data.examples])
        run.progress("training the head", 0.5)
        head, strength = self._head(vectors, [example.output for example in data.examples], run.seed)
        files = run.folder / "model"
        files.mkdir()
        weight, bias, labels = _softmax(head)
        save_head(files, weight, bias, labels)
        run.notes["C"] = strength
        digest = run.engines.find(start.encoder).digest
        return replace(start, model=ModelRef("encoder", start.encoder, digest, str(files), folder_digest(files)), demos=Demos())

    def _head(self, vectors, outputs: list[str], seed: int):
        """Logistic regression with the best strength by cross-validation; the middle one if a class has too few rows."""
        from collections import Counter

        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import StratifiedKFold, cross_val_score

        folds = min(5, min(Counter(outputs).values()))
        strength = self.strengths[len(self.strengths) // 2]
        if folds >= 2:
            split = StratifiedKFold(folds, shuffle=True, random_state=seed)
            scores = {
                c: cross_val_score(LogisticRegression(C=c, max_iter=1000), vectors, outputs, cv=split).mean()
                for c in self.strengths
            }
            strength = max(scores, key=lambda c: (scores[c], -c))
        return LogisticRegression(C=strength, max_iter=1000).fit(vectors, outputs), strength


def _softmax(head):
    """Weights that give one score per label. For two labels scikit-learn has a single row, the score of the second."""
    import numpy as np

    if len(head.classes_) > 2:
        return head.coef_, head.intercept_, list(head.classes_)
    zero = np.zeros_like(head.coef_)
    return np.concatenate([zero, head.coef_]), np.concatenate([[0.0], head.intercept_]), list(head.classes_)
