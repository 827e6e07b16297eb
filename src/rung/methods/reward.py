"""A reward model: the base with a head that judges answers, learnt from pairs. https://arxiv.org/abs/2203.02155"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from rung.data.preferences import hold_out
from rung.machine import Machine
from rung.methods import pairing, tuning
from rung.methods.base import Family, Method, Run
from rung.methods.estimate import CostEstimate
from rung.methods.facts import Facts
from rung.methods.option import Count, Natural, Rate, Share
from rung.predictor import Predictor, folder_digest
from rung.types import Need, TrainData

if TYPE_CHECKING:
    from rung.lm.trees.tree import Row


@dataclass(frozen=True, kw_only=True)
class Reward(Method):
    """Answers stay as they were: what is learnt lies beside the model, for a method after it that is rewarded by it."""

    name: ClassVar[str] = "reward"
    family: ClassVar[Family] = Family.REWARD
    needs: ClassVar[frozenset[Need]] = frozenset({Need.PREFERENCES, Need.OPEN_WEIGHTS})
    fit_version: ClassVar[int] = 2

    rank: Count = 16
    """Width of the adapters."""
    alpha: Count = 32
    """Scale of the adapters' output, as alpha / rank."""
    learning_rate: Rate = 3e-4
    """Highest step size."""
    epochs: Count = 1
    """Times that each pair is seen. More soon overfits."""
    patience: Natural = 0
    """Stop after so many epochs that rank pairs of held-back questions no better; 0 trains all epochs on all pairs."""
    batch: Count = 16
    """Pairs a step."""
    tokens: Count = 2048
    """Most tokens computed at once, shared ones counted once; less needs less memory."""
    held: Share = 0.1
    """Share of the questions kept out of training, to measure on; 0 learns from all of them."""

    def estimate(self, start: CostEstimate, facts: Facts, machine: Machine) -> CostEstimate:
        load = tuning.TrainingLoad(epochs=self.epochs, batch=self.batch, tokens=self.tokens, trained=0.03, patience=self.patience)
        return pairing.pair_training_estimate(start, facts, machine, load, reads=0)

    def fit(self, start: Predictor, data: TrainData, run: Run) -> Predictor:
        from rung.lm.models import adapters, fits
        from rung.lm.training import preferences, rewards, train

        learnt, held = hold_out(data.preferences, self.held, run.seed)
        learnt, by = pairing.held_back(learnt, self.patience, run)
        loaded, head = rewards.headed(tuning.open_model(start, run), run.seed)
        rows, shown, choosing = (pairing.rows(loaded, start, some, run) for some in (learnt, held, by))
        loaded = replace(loaded, model=adapters.lora(loaded.model, self.rank, self.alpha, 0.0, run.seed, whole=(head,)))
        plan = train.Plan(
            learning_rate=self.learning_rate,
            epochs=self.epochs,
            batch=self.batch,
            tokens=self.tokens,
            patience=self.patience,
            seed=run.seed,
        )
        watch = tuning.watch(run)

        def worth(rows: Sequence[Row]) -> list[float]:
            return preferences.logs(loaded, rows, self.tokens, of=rewards.worth, say=watch.say)

        history = train.run(
            loaded,
            [preferences.Pair(*two) for two in rows],
            plan,
            run.folder / "work",
            loss=rewards.better,
            items=preferences.pairs(),
            held=pairing.score(choosing, worth) if choosing else None,
            watch=watch,
        )
        run.notes.update(train.notes(loaded.model, history))
        if shown:
            run.notes["preferences"] = {"accuracy": asdict(pairing.judged(loaded, shown, self.tokens, run))}
        files = run.folder / "model"
        rewards.save(loaded, files)
        fits.put_below(files, start.model.files)
        return replace(start, model=replace(start.model, files=str(files), files_digest=folder_digest(files)))
