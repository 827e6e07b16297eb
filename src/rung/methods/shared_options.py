"""Options that several methods have, and what follows from them: the training's plan, and what it takes of the machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from rung.methods.base import Method, Run
from rung.methods.option import Count, Natural, Part, Weight
from rung.methods.tuning import TrainingLoad

if TYPE_CHECKING:
    from rung.lm.training.train import TrainConfig


@dataclass(frozen=True, kw_only=True)
class StepOptions(Method):
    """Of every training."""

    patience: Natural = 0
    """Stop after this many of ten checks without a better score on held-back rows by the task's metric; 0 takes all steps."""
    tokens: Count = 2048
    """Most tokens computed at once, shared ones counted once; less needs less memory."""


@dataclass(frozen=True, kw_only=True)
class EpochOptions(StepOptions):
    """Of a training that sees its rows a number of times."""

    epochs: Count = 4
    """Times that each row is seen at most."""
    patience: Natural = 0
    """Stop after this many epochs without a better score on held-back rows; 0 holds none back."""
    batch: Count = 16
    """Rows a step."""

    def load(self, trained: float, wide: bool = False) -> TrainingLoad:
        """What the training takes of the machine. `trained`: share of the parameters; `wide`: the frozen ones are float32."""
        return TrainingLoad(
            epochs=self.epochs,
            batch=self.batch,
            tokens=self.tokens,
            trained=trained,
            wide=wide,
            freezes=self.freezes,
            patience=self.patience,
        )

    def plan(self, run: Run, learning_rate: float, **more: Any) -> TrainConfig:
        """How to train; `more`: as `rung.lm.training.train.TrainConfig` has it."""
        from rung.lm.training.train import TrainConfig

        return TrainConfig(
            learning_rate=learning_rate,
            epochs=self.epochs,
            batch=self.batch,
            tokens=self.tokens,
            patience=self.patience,
            seed=run.seed,
            **more,
        )


@dataclass(frozen=True, kw_only=True)
class AnswerOptions(EpochOptions):
    """Of a training on right answers, which may end as soon as they are learnt."""

    steady: ClassVar[bool] = False
    """Whether the learning rate is constant and falls at the end also where training cannot end early."""

    stop_below: Weight = 0.0
    """Mean loss of as many steps as an epoch has, below which training ends early; 0 never. No effect with `patience`."""

    def plan(self, run: Run, learning_rate: float, **more: Any) -> TrainConfig:
        stop = 0.0 if self.patience else self.stop_below
        return super().plan(run, learning_rate, stop_below=stop, steady=self.steady or stop > 0, **more)

    @property
    def may_stop(self) -> bool:
        """Whether the training may end before its last epoch, by its loss."""
        return self.stop_below > 0 and not self.patience and self.epochs > 1


@dataclass(frozen=True, kw_only=True)
class AdapterOptions(Method):
    """Of low-rank adapters."""

    rank: Count = 16
    """Width of the adapters. More fits more, and overfits sooner."""
    alpha: Count = 32
    """Scale of the adapters' output, as alpha / rank."""


@dataclass(frozen=True, kw_only=True)
class PairOptions(EpochOptions, AdapterOptions):
    """Of a training on pairs of answers."""

    epochs: Count = 1
    """Times that each pair is seen. More soon overfits."""
    patience: Natural = 0
    """Stop after this many epochs that rank pairs of held-back questions no better; 0 trains all epochs on all pairs."""
    batch: Count = 16
    """Pairs (or votes) a step."""
    held: Part = 0.1
    """Share of the questions left out of training, to measure on; 0 learns from all of them."""


@dataclass(frozen=True, kw_only=True)
class RawTextOptions(StepOptions):
    """Of a training on raw text."""

    patience: Natural = 0
    """Stop after this many of ten checks that predict other held-out text no better; 0 takes all steps."""
    held: Part = 0.05
    """Share of the documents that is never trained on, to measure on."""
    measured: Count = 20_000
    """Most held-out tokens to measure on, of each kind of text: the first window of each document."""
