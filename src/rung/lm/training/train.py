"""The one training loop: transformers' Trainer over steps of rows, each computed as prefix trees within a token budget."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers.trainer_utils import get_last_checkpoint

from rung.lm import processes
from rung.lm.models.load import Loaded
from rung.lm.quiet import quiet
from rung.lm.training import losses, order, trainer, training_checks
from rung.lm.training.config import Items, Loss, TrainConfig, Watch

__all__ = ["History", "Items", "Loss", "TrainConfig", "Watch", "notes", "run"]


@dataclass(frozen=True)
class History:
    """Loss of each step, score of each evaluation, and the measured speed."""

    losses: tuple[float, ...]
    scores: tuple[float, ...]
    seconds: float
    rows_seen: int
    """Rows (or pairs, or groups of them) trained on, all epochs counted."""
    nodes: int
    """Tokens computed, shared ones once, over all epochs."""
    planned: int
    """Steps of all epochs."""
    stopped: str = ""
    """Why training ended before all of them."""


def run(
    loaded: Loaded,
    rows: Sequence[Any],
    config: TrainConfig,
    folder: Path,
    *,
    loss: Loss = losses.sft,
    items: Items = Items(),
    validate: Callable[[], float] | None = None,
    watch: Watch = Watch(),
) -> History:
    """Train `loaded.model` in place on `rows` and return the history. `items`: how `rows` form steps, if not single rows.

    `validate()` scores the model at each evaluation, higher is better; with `config.patience` it stops training early and
    selects the checkpoint. `folder` holds the checkpoints: a killed run resumes from the last one, and they are deleted when
    training is done. With several processes (`rung.lm.processes`) each computes a share of every step, the gradient is
    that of the whole step, and the main process's `folder`, `validate` and deadline apply.
    """
    training_checks.check_sharding(loaded)
    training_checks.check_pad_token(loaded)
    given = [row for item in rows for row in items.rows(item)]
    if given or not rows:  # rows that are sampled later cannot be checked
        items.check(given, loaded)
    alike = items.groups(rows)
    orders = [order.shuffled(alike, config.batch, config.seed + epoch) for epoch in range(config.epochs)]
    steps = [
        [rows[i] for i in one[start : start + config.batch]]
        for one in orders
        for start in range(0, len(rows), config.batch)
        for _ in range(config.repeat)
    ]
    gap = config.repeat * math.ceil(len(steps) / (config.repeat * (config.evaluations or config.epochs)))
    if processes.is_main_process():
        training_checks.delete_partial_checkpoints(folder)
    folder, last = processes.broadcast((folder, get_last_checkpoint(str(folder)) if folder.is_dir() else None))
    processes.broadcast_tensors(p.data for p in loaded.model.parameters() if p.requires_grad)
    made = trainer.made(loaded, steps, gap, config, folder, (loss, items), validate, watch)
    started = time.monotonic()
    with quiet():
        made.train(resume_from_checkpoint=last)
    loaded.model.eval()
    processes.barrier()
    if processes.is_main_process():
        shutil.rmtree(folder, ignore_errors=True)
    history = made.state.log_history
    return History(
        losses=tuple(entry["loss"] for entry in history if "loss" in entry),
        scores=tuple(entry["eval_held"] for entry in history if "eval_held" in entry),
        seconds=time.monotonic() - started,
        rows_seen=made.rows_seen,
        nodes=made.nodes,
        planned=len(steps),
        stopped=made.schedule.why if made.schedule else "",
    )


def notes(model: Any, history: History) -> dict[str, Any]:
    """A training's notes for the record."""
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return {
        "trained_parameters": trained,
        "trained_share": trained / sum(p.numel() for p in model.parameters()),
        "losses": [round(value, 4) for value in history.losses],
        "held": [round(value, 4) for value in history.scores],
        "rows_per_second": history.rows_seen / history.seconds,
        "planned_steps": history.planned,
        **({"stopped": history.stopped} if history.stopped else {}),
    }
