"""A reward model: the base with a head that scores answers, trained on pairs. https://arxiv.org/abs/2203.02155"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from rung.data.preferences import split_holdout
from rung.machine import Machine
from rung.methods import pairing, tuning
from rung.methods.base import Family, Run
from rung.methods.estimate import CostEstimate
from rung.methods.facts import Facts
from rung.methods.option import Rate
from rung.methods.shared_options import PairOptions
from rung.predictor import Predictor
from rung.types import Need, TrainData

if TYPE_CHECKING:
    from rung.lm.trees.tree import Row


@dataclass(frozen=True, kw_only=True)
class Reward(PairOptions):
    """Answers stay as they were: the reward model is stored beside the model, for a later method such as grpo."""

    name: ClassVar[str] = "reward"
    family: ClassVar[Family] = Family.REWARD
    needs: ClassVar[frozenset[Need]] = frozenset({Need.PREFERENCES, Need.OPEN_WEIGHTS})
    fit_version: ClassVar[int] = 2

    learning_rate: Rate = 3e-4
    """Highest step size."""

    def estimate(self, start: CostEstimate, facts: Facts, machine: Machine) -> CostEstimate:
        return pairing.pair_training_estimate(start, facts, machine, self.load(0.03), reads=0)

    def fit(self, start: Predictor, data: TrainData, run: Run) -> Predictor:
        from rung.lm.models import adapters, fits
        from rung.lm.training import preferences, rewards, train

        learnt, held = split_holdout(data.preferences, self.held, run.seed)
        learnt, by = pairing.held_back(learnt, self.patience, run)
        loaded, head = rewards.with_reward_head(tuning.open_model(start, run), run.seed)
        rows, shown, choosing = (pairing.rows(loaded, start, some, run) for some in (learnt, held, by))
        loaded = replace(loaded, model=adapters.lora(loaded.model, self.rank, self.alpha, 0.0, run.seed, whole=(head,)))
        plan = self.plan(run, self.learning_rate)
        watch = tuning.watch(run)

        def worth(rows: Sequence[Row]) -> list[float]:
            return preferences.score_rows(loaded, rows, self.tokens, of=rewards.row_rewards, say=watch.say)

        history = train.run(
            loaded,
            [preferences.Pair(*two) for two in rows],
            plan,
            run.folder / "work",
            loss=rewards.bradley_terry,
            items=preferences.pairs(),
            validate=pairing.score(choosing, worth) if choosing else None,
            watch=watch,
        )
        run.notes.update(train.notes(loaded.model, history))
        if shown:
            run.notes["preferences"] = {"accuracy": asdict(pairing.ranking_accuracy(loaded, shown, self.tokens, run))}
        files = run.folder / "model"
        rewards.save(loaded, files)
        fits.link_previous(files, start.model.files)
        return tuning.answering_with(start, files, run, start.model.precision)
