"""Options of the rungs that end in a linear head on an encoder's vectors, and how they fit it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

from annotated_types import MinLen

from rung.lm.inference.encoder import OtherLabel
from rung.methods.base import Method, MetricUse, Run
from rung.methods.linear_head import Balance, LabelTexts, LinearHead, as_chosen, fit_head
from rung.methods.option import Rate, Weight
from rung.methods.other_label import choose_other, noted


@dataclass(frozen=True, kw_only=True)
class HeadOptions(Method):
    """Of a linear head."""

    metric_use: ClassVar[MetricUse] = MetricUse.ALWAYS

    strengths: Annotated[tuple[Rate, ...], MinLen(1)] = (1.0, 3.0, 10.0, 30.0, 100.0)
    """Inverse regularisation strengths (C) of the logistic regression to choose from, on rows of train that are held back."""
    name_weights: Annotated[tuple[Weight, ...], MinLen(1)] = (0.0, 2.0)
    """How many examples a label's name and description count for, to choose from on rows that are held back; 0: none."""
    balance: Balance = "auto"
    """Whether rare labels weigh as much as common ones: auto chooses on rows that are held back, by the task's own metric."""
    head_temperature: Rate | None = None
    """Divides the head's logits, so that its probabilities are calibrated; by default chosen on rows that are held back."""

    def again(self, notes: Mapping[str, Any]) -> Method:
        return replace(self, **as_chosen(notes))

    def head(self, vectors: Any, outputs: Sequence[str], texts: LabelTexts, run: Run, held: Sequence[int] = ()) -> LinearHead:
        """The head of vectors (rows, width) and their labels; `held` as for `fit_head`."""
        alike, warmth, chosen = run.counts_labels_alike, self.head_temperature, (self.strengths, self.name_weights)
        return fit_head(vectors, outputs, *chosen, texts, run.seed, self.balance, alike, temperature=warmth, held=held)

    def other(
        self, other: str, vectors: Any, outputs: Sequence[str], head: LinearHead, texts: LabelTexts, run: Run
    ) -> OtherLabel | None:
        """When a head on vectors that no training changes answers that none of the labels fits; it is noted."""
        alike = replace(self, **as_chosen(head.notes))

        def fit(some: Any, labels: Sequence[str]) -> tuple[Any, Any]:
            found = alike.head(some, labels, texts, run)
            return found.weight, found.bias

        found = choose_other(vectors, outputs, other, fit, run.seed)
        run.notes["other"] = noted(found)
        return None if isinstance(found, str) else found.rule
