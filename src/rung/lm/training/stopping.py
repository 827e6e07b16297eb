"""Training that ends once its loss on its rows is low, with a learning rate that fits an end not known in advance.

Warm-up, a constant rate, then a fall over the last steps: https://arxiv.org/abs/2404.06395, https://arxiv.org/abs/2405.18392.
"""

from __future__ import annotations

import math
from typing import Any

from transformers import TrainerCallback

FALL = 3
"""One step in so many has a falling rate, the last ones; of one or two steps, none."""


class StableDecay:
    """The learning rate of a step as a share of the highest. The fall begins early if the loss is low.

    The loss is that before each update, and its mean is over the latest steps, as many as an epoch has; each step counts alike.
    torch's LambdaLR saves the fields of an object with the checkpoints, so a resumed training decides alike.
    """

    def __init__(self, steps: int, epoch: int, below: float, warmup: int, floor: float):
        """`steps` planned, `epoch` steps for all rows once, `below` the loss at which it has learnt."""
        self.planned = self.end = steps
        self.epoch, self.below, self.warmup, self.floor = epoch, below, warmup, floor
        self.fall = steps // FALL
        self.recent: list[float] = []

    def __call__(self, step: int) -> float:
        """The rate of step `step`, counted from 0."""
        rise = (step + 1) / (self.warmup + 1)
        fall = (self.end - step) / (self.fall + 1)
        return min(1.0, rise, max(self.floor, fall))

    def see(self, done: int, loss: float) -> None:
        """The loss of a step; `done` counts it. Decides from the end of the first epoch until the rate falls."""
        if done >= self.end - self.fall:
            return
        self.recent.append(loss)
        del self.recent[: -self.epoch]
        if len(self.recent) == self.epoch and sum(self.recent) < self.below * self.epoch:
            self.fall = min(self.fall, math.ceil(done / (FALL - 1)))
            self.end = done + self.fall

    @property
    def why(self) -> str:
        """Why it ends before its planned steps; empty if it does not."""
        if self.end == self.planned:
            return ""
        return f"the mean loss of the latest {self.epoch} steps was {sum(self.recent) / self.epoch:.4f}, below {self.below:g}"


class NoLastCheckpoint(TrainerCallback):
    """Saves no checkpoint at an early end: the Trainer would resume from it with the next step."""

    def __init__(self, schedule: StableDecay):
        self.schedule = schedule

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.schedule.why and state.global_step >= self.schedule.end:
            control.should_save = False
