"""What a training is given: how to train, what a step consists of, and who watches."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rung.lm.models.load import Loaded
from rung.lm.training import losses, training_checks
from rung.lm.trees.tree import Row

Loss = Callable[[Any, Sequence[Any], bool], torch.Tensor]
"""From the model, the items of one part of a step, and whether the model supports trees, to a sum over the items."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How to train. Steps count optimizer updates."""

    learning_rate: float
    epochs: int
    batch: int = 32
    """Items per step: rows, or pairs or groups of them."""
    repeat: int = 1
    """Consecutive updates on each step's items."""
    save: int = 0
    """Steps between two checkpoints, a multiple of `repeat`; 0 means about ten in all. With `patience`, one per evaluation."""
    tokens: int = 2048
    """Most nodes of a part of a step; a larger step is computed in parts and updated once."""
    warmup: float = 0.1
    """Share of the steps for the learning rate's warm-up, from ten steps on."""
    steady: bool = False
    """After the warm-up, a constant rate that falls over the last third of the steps, where it is a cosine otherwise. No effect
    with `patience`."""
    stop_below: float = 0.0
    """Mean loss of as many steps as an epoch has, below which a steady rate falls and training ends; 0 takes all steps."""
    floor: float = 0.0
    """Final learning rate, as a share of the highest."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's betas."""
    weight_decay: float = 0.0
    """Of matrices only; norms and biases have none."""
    clip: float = 1.0
    """Maximum gradient norm."""
    mixed: bool = False
    """Compute in bfloat16 with weights in float32: bfloat16 weights would round small updates away."""
    patience: int = 0
    """Stop after so many evaluations without a better score, and keep the best checkpoint; 0 runs all and keeps the last."""
    evaluations: int = 0
    """Most evaluations, evenly over the steps and after the last; 0 evaluates after each epoch."""
    seed: int = 0


@dataclass(frozen=True)
class Items:
    """What a step consists of: by default single rows. The rows of a pair or group stay in one part, as one tree."""

    rows: Callable[[Any], Sequence[Row]] = lambda row: (row,)
    """The rows of an item."""
    weight: Callable[[Sequence[Any]], float] = losses.weight
    """Divisor of the loss summed over a whole step."""
    prepare: Callable[[Sequence[Any], int], Sequence[Any]] = lambda items, step: items
    """Called before each step with its items and the number of steps done, the model in evaluation mode; returns the items
    to train on. Draws samples, and adds what the loss needs from the whole step. Of several processes the main one calls it
    for all."""
    groups: Callable[[Sequence[Any]], Sequence[Sequence[int]]] = lambda items: [[i] for i in range(len(items))]
    """Items to put into one step where possible, as indices."""
    check: Callable[[Sequence[Row], Loaded], None] = training_checks.check_rows
    """Raises for rows that cannot be trained on, before the first step."""


@dataclass(frozen=True)
class Watch:
    """Callbacks of a training, and its deadline."""

    step: Callable[[int, int, float], None] = lambda done, total, loss: None
    """Called after each step with the steps done, all steps, and the loss."""
    deadline: float = math.inf
    """`time.monotonic()` after which training stops with a BudgetError; the last checkpoint is kept."""
    say: Callable[[str], None] = lambda text: None
    """Reports to the user, for instance that memory ran out and parts become smaller."""
    trackers: tuple[str, ...] = ()
    """Names for transformers' `report_to`."""
    tracker_folder: Path | None = None
    """Folder for trackers' files; by default the checkpoints' folder, which is deleted at the end."""
