"""Few-shot: examples put into the prompt, fixed ones for all rows or ones similar to each input.

In-context learning: https://arxiv.org/abs/2005.14165; by similarity: https://arxiv.org/abs/2101.06804. Fixed examples
come first and are computed once for all rows; similar ones come last, nearest to the question.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from rung import label_sets
from rung.lm.vectors import save_vectors
from rung.machine import MODEL_OPEN_SECONDS, Machine
from rung.methods.base import Family, Method, Run
from rung.methods.estimate import OPENED_LABELS, CostEstimate, StopBehaviour, answer_seconds
from rung.methods.facts import Facts
from rung.methods.option import Natural
from rung.predictor import Demos, Predictor, folder_digest
from rung.types import Example, Need, TrainData

SIMILAR = 4
"""Small models copy the label that the nearest examples share; more labels mislead them (benchmarks/RESULTS.md)."""

MOST_SHARED_TOKENS = 2000
"""Beyond this, fixed demonstrations cost small models more memory and time than they gain."""


@dataclass(frozen=True, kw_only=True)
class FewShot(Method):
    name: ClassVar[str] = "few-shot"
    family: ClassVar[Family] = Family.DEMONSTRATIONS
    needs: ClassVar[frozenset[Need]] = frozenset({Need.EXAMPLES})
    fit_version: ClassVar[int] = 2
    folds: ClassVar[int] = 0
    quick: ClassVar[bool] = True

    pick: Literal["fixed", "similar"] = "fixed"
    """fixed: the same examples in every prompt, balanced over the labels; similar: those most like each input."""
    shots: Natural = 0
    """How many examples; 0 takes one per label (at least 8) for fixed and 4 for similar."""

    def estimate(self, start: CostEstimate, facts: Facts, machine: Machine) -> CostEstimate:
        demo, stop = facts.input_tokens + facts.output_tokens, max(start.stop_behaviour, StopBehaviour.EXAMPLES)
        if self.pick == "fixed":
            most = min(self._count(facts.labels) * demo, MOST_SHARED_TOKENS)
            narrowed = max(OPENED_LABELS, facts.labels / 8)  # demonstrations narrow the choice
            shared = start.shared_tokens + most  # computed once
            asked = answer_seconds(start.prompt_tokens, shared, facts, machine, narrowed, stop)
            return replace(start, shared_tokens=shared, row_seconds=asked, stop_behaviour=stop)
        own = start.prompt_tokens + self._count(facts.labels) * demo
        # fixed demonstrations of an earlier method stay, the list of labels goes
        shared = max(facts.shared_tokens, start.shared_tokens - facts.label_tokens)
        embedding = machine.prefill_seconds(facts.encoder_computing, facts.input_tokens)
        return replace(
            start,
            fit_seconds=start.fit_seconds + MODEL_OPEN_SECONDS + facts.train_rows * embedding,
            prompt_tokens=own,
            shared_tokens=shared,
            row_seconds=answer_seconds(own, shared, facts, machine, stop=stop) + embedding,
            stop_behaviour=stop,
        )

    def fit(self, start: Predictor, data: TrainData, run: Run) -> Predictor:
        count = self._count(len(data.labels or data.label_set))
        if self.pick == "fixed":
            fits = within(balanced(data.examples, count, run.seed), start, run)
            return replace(start, demos=replace(start.demos, fixed=fits))
        files = run.folder / "demos"
        files.mkdir()
        run.progress("embedding the examples", 0.0)
        save_vectors(files, run.engines.embedder(start.encoder).embed([e.input for e in data.examples]))
        demos = Demos(
            fixed=start.demos.fixed,
            pool=data.examples,
            similar=count,
            files=str(files),
            files_digest=folder_digest(files),
        )
        return replace(start, demos=demos, show_labels=False)

    def _count(self, labels: int) -> int:
        return self.shots or (max(8, labels) if self.pick == "fixed" else SIMILAR)


def balanced(examples: Sequence[Example], count: int, seed: int) -> tuple[Example, ...]:
    """`count` examples drawn label by label in turn, then shuffled: equal labels in a row mislead a model."""
    rng = random.Random(seed)
    by_label: dict[str, list[Example]] = defaultdict(list)
    often = Counter(label for example in examples for label in label_sets.parse(example.output) or ())
    for example in rng.sample(list(examples), len(examples)):
        by_label[_rarest(example, often)].append(example)
    # for free answers every answer is its own label, and this becomes plain sampling
    turns = [e for turn in range(count) for rows in by_label.values() for e in rows[turn : turn + 1]]
    chosen = turns[:count]
    rng.shuffle(chosen)
    return tuple(chosen)


def _rarest(example: Example, often: Mapping[str, int]) -> str:
    """The label that a row is drawn for: its own, or the rarest of several, so that each label is shown."""
    return min(label_sets.parse(example.output) or (example.output,), key=lambda label: (often[label], label))


def within(chosen: Sequence[Example], start: Predictor, run: Run) -> tuple[Example, ...]:
    """As many of the chosen as fit into the token budget and half the context, so that a question still fits.

    Where a tokenizer is enough to count, no weights are opened.
    """
    engines, model = run.engines, start.model
    context = engines.context(model) if engines.chat(model) else engines.open(model).context
    most = min(MOST_SHARED_TOKENS, (context or 2 * MOST_SHARED_TOKENS) // 2)
    empty, _ = engines.tokens(model, start.render(Example("", "")), "")
    kept: list[Example] = []
    size = empty
    for example in chosen:
        asked, _ = engines.tokens(model, start.render(example), "")
        size += asked - empty + len(example.output) // 3
        if size > most:
            break
        kept.append(example)
    return tuple(kept)
