"""What a metric is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rung.metrics import resample
from rung.metrics.unknown import is_unknown
from rung.types import Example, Kind, Unscored


@dataclass(frozen=True, slots=True)
class Metric:
    """How an answer is scored, from 0 (worst) to 1."""

    name: str
    kinds: tuple[Kind, ...]
    """Kinds of task it applies to; the first is the default."""
    per_row: Callable[[str, str, Example], float]
    """(output, reference, example) → score of one row."""
    corpus: resample.Corpus | None = None
    """For metrics that are not a mean over rows: (outputs, references) → score."""
    binary: bool = False
    """Each row is right or wrong."""
    score_many: Callable[[Sequence[str], Sequence[Example]], Sequence[float | Unscored]] | None = None
    """For metrics scored by a model in batches: (outputs, examples) → scores, or why a row has none."""
    abstains: bool = False
    """Whether no answer is right for unanswerable questions."""
    fault: Callable[[str], str] = lambda reference: ""
    """Why a right answer cannot be scored; empty if it can. Rows are checked when they are read."""
    version: int = 1
    """Raised when scores may change, so that stored scores are recomputed."""

    @property
    def rule(self) -> str:
        """Name with version for keys; without it for version 1."""
        return self.name if self.version == 1 else f"{self.name}@{self.version}"

    def rate(self, output: str, example: Example) -> float:
        """One row's score: the best over its right answers."""
        # a judge sees all of them at once
        references = example.accepted if self.score_many is None else (example.output,)
        return max(self._against(reference, output, example) for reference in references)

    def nearest_reference(self, output: str, example: Example) -> str:
        """The right answer closest to the output, used as reference for corpus metrics."""
        return (
            max(example.accepted, key=lambda one: self._against(one, output, example)) if example.references else example.output
        )

    def _against(self, reference: str, output: str, example: Example) -> float:
        if self.abstains and example.unanswerable:
            return float(is_unknown(output))
        return self.per_row(output, reference, example)
