"""DPO, KTO, ORPO and SimPO: adapters trained on which of two answers is better. https://arxiv.org/abs/2305.18290

KTO: https://arxiv.org/abs/2402.01306; ORPO: https://arxiv.org/abs/2403.07691; SimPO: https://arxiv.org/abs/2405.14734
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from rung.data.preferences import split_holdout
from rung.machine import Machine
from rung.methods import pairing, tuning
from rung.methods.base import Family, Run
from rung.methods.estimate import CostEstimate
from rung.methods.facts import Facts
from rung.methods.option import Rate, Weight
from rung.methods.shared_options import PairOptions
from rung.predictor import Predictor
from rung.types import Need, TrainData

if TYPE_CHECKING:
    from rung.lm.models.load import Loaded
    from rung.lm.training.train import Items, Loss
    from rung.lm.trees.tree import Row


@dataclass(frozen=True, kw_only=True)
class Preferring(PairOptions):
    name: ClassVar[str] = "preference"
    family: ClassVar[Family] = Family.PREFERENCE
    needs: ClassVar[frozenset[Need]] = frozenset({Need.PREFERENCES, Need.OPEN_WEIGHTS})
    fit_version: ClassVar[int] = 2

    loss: Literal["dpo", "kto", "orpo", "simpo"] = "dpo"
    """The loss. kto also takes single votes; orpo and simpo need no reference model."""
    beta: Rate = 0.1
    """How closely the model stays to the one it began with; for orpo the weight of the odds ratio, for simpo a scale."""
    gamma: Weight = 0.0
    """Margin between the two answers in simpo, before the logistic function; the others have none."""
    learning_rate: Rate = 1e-4
    """Highest step size; about a tenth of that for learning answers."""

    @property
    def freezes(self) -> bool:
        return True

    def estimate(self, start: CostEstimate, facts: Facts, machine: Machine) -> CostEstimate:
        return pairing.pair_training_estimate(start, facts, machine, self.load(0.03), reads=1)

    def fit(self, start: Predictor, data: TrainData, run: Run) -> Predictor:
        from rung.lm.models import adapters
        from rung.lm.training import preferences, train

        learnt, held = split_holdout(data.preferences, self.held, run.seed)
        learnt, by = pairing.held_back(learnt, self.patience, run)
        loaded = tuning.open_model(start, run, freezes=self.freezes)
        items = self._items(pairing.rows(loaded, start, learnt, run, votes=self.loss == "kto"), loaded.max_length)
        shown = pairing.rows(loaded, start, [one for one in held if one.chosen and one.rejected], run)
        choosing = pairing.rows(loaded, start, by, run)

        wanted = [row for two in (*shown, *choosing) for row in two]
        if self.loss in ("dpo", "kto"):
            wanted += [row for item in items for row in item.reference_rows]
        wanted = list(dict.fromkeys(wanted))
        work = run.folder / "work"
        began = preferences.cached(work / "reference.safetensors", lambda: pairing.logs(loaded, wanted, self.tokens, run))
        known = dict(zip(wanted, began, strict=True))
        if self.loss in ("dpo", "kto"):
            items = preferences.with_reference(items, known)

        loaded = replace(loaded, model=adapters.lora(loaded.model, self.rank, self.alpha, 0.0, run.seed))
        loss, made = self._aim(items, loaded)
        plan = self.plan(run, self.learning_rate)
        watch = tuning.watch(run)

        def gained(rows: Sequence[Row]) -> list[float]:
            now = preferences.score_rows(loaded, rows, self.tokens, say=watch.say)
            return [log - known[row] for row, log in zip(rows, now)]

        better = pairing.score(choosing, gained) if choosing else None
        history = train.run(loaded, items, plan, work, loss=loss, items=made, validate=better, watch=watch)
        if shown:
            run.notes["preferences"] = pairing.change(loaded, shown, known, self.tokens, run)
        return tuning.keep_adapter(loaded, start, history, run)

    def _items(self, rows: Sequence[Any], max_length: int) -> list[Any]:
        from rung.lm.training import preferences

        match self.loss:
            case "kto":  # all good ones first, so that the answer before belongs to another question
                return preferences.votes([(row, k == 0) for k in (0, 1) for two in rows if (row := two[k])], max_length)
            case "orpo":
                return [preferences.pair_with_question(*two) for two in rows]
        return [preferences.Pair(*two) for two in rows]

    def _aim(self, items: Sequence[Any], loaded: Loaded) -> tuple[Loss, Items]:
        from rung.lm.training import preferences

        match self.loss:
            case "kto":
                good, bad = preferences.balance(items)
                return preferences.kto(self.beta, good, bad, loaded, self.tokens)
            case "orpo":
                return preferences.orpo(self.beta)
            case "simpo":
                return preferences.simpo(self.beta, self.gamma)
        return preferences.dpo(self.beta)
