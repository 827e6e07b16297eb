"""Continued pre-training: raw domain text into the weights, some general text replayed. https://arxiv.org/abs/2403.08763"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, ClassVar

from annotated_types import Ge, Le

from rung.machine import Machine, frozen_bytes
from rung.methods import raw, tuning
from rung.methods.base import Family, Run
from rung.methods.estimate import CostEstimate
from rung.methods.facts import Facts
from rung.methods.option import Count, Natural, Rate
from rung.methods.shared_options import RawTextOptions
from rung.predictor import Predictor
from rung.types import Need, TrainData


@dataclass(frozen=True, kw_only=True)
class Continued(RawTextOptions):
    name: ClassVar[str] = "continued"
    family: ClassVar[Family] = Family.CONTINUED
    needs: ClassVar[frozenset[Need]] = frozenset({Need.CORPUS, Need.OPEN_WEIGHTS})
    fit_version: ClassVar[int] = 1

    rank: Natural = 0
    """Width of LoRA adapters, which learn less and forget less; 0 trains all weights."""
    learning_rate: Rate = 1e-4
    """Highest step size: warmed up again, then decayed to a tenth. Adapters need about ten times as much."""
    replay: Annotated[float, Ge(0), Le(0.95)] = 0.05
    """Share of the tokens that is general text; more if the domain is far from what the base has read."""
    epochs: Count = 1
    """Times that the domain text is read."""
    window: Count = 1024
    """Tokens that longer documents are cut to."""
    step: Count = 8192
    """Tokens an update."""
    held: Annotated[float, Ge(0), Le(0.5)] = 0.05
    """Share of the documents that is never trained on, for the perplexity before and after."""

    @property
    def freezes(self) -> bool:
        return self.rank > 0

    def estimate(self, start: CostEstimate, facts: Facts, machine: Machine) -> CostEstimate:
        trained = 0.03 if self.rank else 1.0
        tokens = self.read_tokens(facts)
        looks = tuning.CHECKS if self.patience else 0
        read = 4 * min(self.measured, self.held * tokens) + looks * min(self.measured, tuning.HELD * tokens)
        reading = machine.prefill_seconds(facts.parameters, round(read))
        return replace(
            start,
            fit_seconds=start.fit_seconds
            + machine.training_seconds(facts.parameters, trained, round(tokens), self.epochs, frozen=self.freezes)
            + reading,
            memory_bytes=tuning.memory(
                facts.parameters,
                trained,
                self.tokens,
                machine,
                frozen_bytes(facts.parameters, facts.vocabulary_parameters) if self.freezes and machine.frozen_bf16 else 4,
            ),
        )

    def read_tokens(self, facts: Facts) -> float:
        """Tokens trained on in an epoch, about: domain text that is not held out, and general text that is replayed."""
        return facts.corpus_tokens * (1 - self.held) / (1 - (self.replay if facts.general_text else 0.0))

    def fit(self, start: Predictor, data: TrainData, run: Run) -> Predictor:
        from rung.lm.models import adapters
        from rung.lm.raw_text.perplexity import measure
        from rung.lm.training import raw_text_steps, train

        replay = self._replayed(data, run)
        loaded = tuning.open_model(start, run, whole=not self.rank, freezes=self.freezes)
        mixed = not self.rank and tuning.widened(loaded, run)
        work, length = run.folder / "work", min(self.window, loaded.context)
        texts = {"domain": data.corpus} | ({"general": data.general} if data.general.files else {})
        made = {
            name: raw.shards(found, self.held, loaded.chat.tokenizer, work / name, run, self.patience if name == "domain" else 0)
            for name, found in texts.items()
        }
        measured = {name: parts.held for name, parts in made.items() if parts.held}
        perplexity = partial(measure, length=length, limit=self.measured, whole=False)
        before = {name: perplexity(loaded, held) for name, held in measured.items()}

        if self.rank:
            loaded = replace(loaded, model=adapters.lora(loaded.model, self.rank, 2 * self.rank, 0.0, run.seed))
        domain, general = made["domain"], made["general"].learnt if replay else None
        steps = raw_text_steps.mixed_steps(domain.learnt, general, replay, length, self.step, self.epochs, run.seed)
        plan = train.TrainConfig(
            learning_rate=self.learning_rate,
            epochs=1,
            batch=1,
            save=max(1, len(steps) // 5),
            tokens=self.tokens,
            floor=0.1,
            mixed=mixed,
            patience=self.patience,
            evaluations=tuning.CHECKS,
            seed=run.seed,
        )
        history = train.run(
            loaded,
            range(len(steps)),
            plan,
            work / "steps",
            items=raw_text_steps.items_of(steps),
            validate=raw.score(loaded, domain.choosing, length, self.measured) if domain.choosing else None,
            watch=tuning.watch(run),
        )
        after = {name: perplexity(loaded, held) for name, held in measured.items()}
        run.notes["perplexity"] = {name: raw.perplexities(before[name], after[name]) for name in measured}
        fitted = (tuning.keep_adapter if self.rank else tuning.keep_weights)(loaded, start, history, run)
        shutil.rmtree(work)
        return fitted

    def _replayed(self, data: TrainData, run: Run) -> float:
        """The share to replay: 0 if no general text is named."""
        if self.replay and not data.general.files:
            tuning.watch(run).say("no general text is named, so none is replayed; name some under data.general")
            return 0.0
        return self.replay
