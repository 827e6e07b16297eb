"""The one training loop: transformers' Trainer fed with steps of rows, each computed as prefix trees within a token budget."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import EarlyStoppingCallback, PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from rung.errors import BudgetError, DataError
from rung.lm import losses, tree
from rung.lm.load import Loaded
from rung.lm.quiet import quiet
from rung.lm.tree import Row
from rung.types import Example

Loss = Callable[[Any, Sequence[Row], bool], torch.Tensor]

SMALLEST = 128
"""Tokens at once under which memory is not tried to be saved any further."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How to train. Steps count optimizer updates."""

    learning_rate: float
    epochs: int
    batch: int = 32
    """Rows a step."""
    tokens: int = 2048
    """Nodes a part of a step may hold; a larger step is computed in parts and updated once."""
    warmup: float = 0.1
    """Share of the steps over which the learning rate rises; then it falls to zero along a cosine."""
    weight_decay: float = 0.0
    clip: float = 1.0
    """Largest norm of the gradient."""
    patience: int = 0
    """Stop after so many epochs without a better held score, and keep the best; 0 trains all epochs and keeps the last."""
    seed: int = 0


@dataclass(frozen=True)
class Watch:
    """Who is told how training goes, and when it must stop."""

    step: Callable[[int, int, float], None] = lambda done, total, loss: None
    """Called after each step with steps done, steps in all, and the loss."""
    deadline: float = math.inf
    """`time.monotonic()` after which training stops with a BudgetError; the last checkpoint stays."""
    say: Callable[[str], None] = lambda text: None
    """Told what a person should know: that memory ran out and training goes on with less at once."""
    trackers: tuple[str, ...] = ()
    """Names that transformers' `report_to` knows."""


@dataclass(frozen=True)
class Trained:
    """What happened: loss by step, held score by epoch, and the measured speed."""

    losses: tuple[float, ...]
    held: tuple[float, ...]
    seconds: float
    rows_seen: int
    """Rows trained on, all epochs counted."""
    nodes: int
    """Tokens computed after sharing, all epochs."""


def run(
    loaded: Loaded,
    rows: Sequence[Row],
    plan: Plan,
    folder: Path,
    *,
    loss: Loss = losses.sft,
    held: Callable[[], float] | None = None,
    watch: Watch = Watch(),
) -> Trained:
    """Train `loaded.model` in place on `rows` and return the history.

    `held()` scores the model after each epoch, higher is better; with `plan.patience` it stops training early and
    chooses the checkpoint. `folder` holds the checkpoints: a run that was killed goes on from the last one, and the
    checkpoints are deleted once training is done.
    """
    check_rows(rows, loaded.chat.end)
    steps = [
        [rows[i] for i in chosen]
        for epoch in range(plan.epochs)
        for chosen in tree.batches(rows, plan.batch, budget=2**62, seed=plan.seed + epoch)
    ]
    per_epoch = len(steps) // plan.epochs
    trainer = _trainer(loaded, steps, per_epoch, plan, folder, loss, held, watch)
    started = time.monotonic()
    with quiet():
        trainer.train(resume_from_checkpoint=get_last_checkpoint(str(folder)) if folder.is_dir() else None)
    loaded.model.eval()
    shutil.rmtree(folder, ignore_errors=True)
    history = trainer.state.log_history
    return Trained(
        losses=tuple(entry["loss"] for entry in history if "loss" in entry),
        held=tuple(entry["eval_held"] for entry in history if "eval_held" in entry),
        seconds=time.monotonic() - started,
        rows_seen=trainer.rows_seen,
        nodes=trainer.nodes,
    )


def hold_back(examples: Sequence[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Rows to train on and rows to choose the checkpoint by, drawn from train; at least one stays to train on."""
    order = np.random.default_rng(seed).permutation(len(examples))
    count = min(round(share * len(examples)), len(examples) - 1)
    held = set(order[:count].tolist())
    return [e for i, e in enumerate(examples) if i not in held], [e for i, e in enumerate(examples) if i in held]


def notes(model: Any, history: Trained) -> dict[str, Any]:
    """What a record keeps of a training."""
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return {
        "trained_parameters": trained,
        "trained_share": trained / sum(p.numel() for p in model.parameters()),
        "losses": [round(value, 4) for value in history.losses],
        "held": [round(value, 4) for value in history.held],
        "rows_per_second": history.rows_seen / history.seconds,
    }


def check_rows(rows: Sequence[Row], end: int) -> None:
    """Refuse, before any step, rows from which nothing or the wrong thing would be learnt."""
    if not rows:
        raise DataError("there is no row to train on.", remedy="Add examples to the training file.")
    for i, row in enumerate(rows):
        if not any(row.targets):
            raise DataError("no token of this row is a target, so nothing would be learnt.", where=f"training row {i + 1}")
        if not (row.targets[-1] and row.tokens[-1] == end):
            raise DataError(
                "the row does not end with the end token as a target, so the model would never learn to stop.",
                where=f"training row {i + 1}",
                remedy="Shorten the row so that its answer is not cut.",
            )


def _trainer(loaded: Loaded, steps: list, per_epoch: int, plan: Plan, folder: Path, loss: Loss, held: Any, watch: Watch) -> Any:
    choosing = held is not None and plan.patience > 0
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=1,  # an item of the dataset is already a whole step
        num_train_epochs=1,  # … and the dataset holds all epochs, each in its own order
        train_sampling_strategy="sequential",
        learning_rate=plan.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=math.ceil(plan.warmup * len(steps)),
        weight_decay=plan.weight_decay,
        max_grad_norm=plan.clip,
        logging_steps=1,
        save_strategy="steps",
        save_steps=per_epoch,
        save_total_limit=2 if choosing else 1,
        eval_strategy="steps" if choosing else "no",
        eval_steps=per_epoch,
        load_best_model_at_end=choosing,
        restore_callback_states_from_checkpoint=choosing,  # the count of epochs without a better score
        metric_for_best_model="held",
        greater_is_better=True,
        use_cpu=loaded.device.type == "cpu",
        bf16=False,  # the weights already are in the type to compute in
        seed=plan.seed,
        disable_tqdm=True,
        report_to=list(watch.trackers) or "none",
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )
    callbacks: list[TrainerCallback] = [_Watching(watch)]
    if choosing:
        callbacks.append(EarlyStoppingCallback(plan.patience))
    trainer = _StepTrainer(loaded, loss, held, plan.tokens, watch, args=arguments, steps=steps, callbacks=callbacks)
    trainer.remove_callback(PrinterCallback)
    return trainer


class _StepTrainer(Trainer):
    """Trainer whose item is a step: rows that are cut into parts within the token budget and updated once."""

    def __init__(self, loaded: Loaded, loss: Loss, held: Any, tokens: int, watch: Watch, *, steps: list, **kwargs: Any):
        self.loaded, self.loss, self.held, self.tokens, self.watch = loaded, loss, held, tokens, watch
        self.nodes = self.rows_seen = 0
        super().__init__(
            model=loaded.model,
            train_dataset=steps,
            eval_dataset=steps[:1],  # never read: `evaluate` below asks `held`; Trainer wants one named
            data_collator=lambda items: {"rows": items[0]},
            **kwargs,
        )

    def training_step(self, model: Any, inputs: dict, num_items_in_batch: Any = None) -> torch.Tensor:
        model.train()
        rows = inputs["rows"]
        while True:
            try:
                total, nodes = self._computed(model, rows)
                break
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not _out_of_memory(error) or self.tokens < 2 * SMALLEST:
                    raise
                model.zero_grad()  # the parts already computed are computed again
                self.tokens //= 2
                self.watch.say(f"out of memory: going on with {self.tokens} tokens at once")
        self.nodes += nodes
        self.rows_seen += len(rows)
        return total

    def _computed(self, model: Any, rows: Sequence[Row]) -> tuple[torch.Tensor, int]:
        """Gradients of a step, part by part; its loss and the tokens computed."""
        whole, total, nodes = losses.weight(rows), torch.zeros((), device=self.args.device), 0
        for part in tree.cut(rows, sorted(range(len(rows)), key=lambda i: rows[i].tokens), self.tokens):
            chosen = [rows[i] for i in part]
            value = self.loss(model, chosen, self.loaded.trees) / whole
            self.accelerator.backward(value)
            total += value.detach()
            nodes += tree.count(chosen)[1]
        return total, nodes

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        self.loaded.model.eval()
        found = {"eval_held": self.held()}
        self.loaded.model.train()
        self.log(found)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, found)
        return found


class _Watching(TrainerCallback):
    """Tells the watcher after each step, and stops at the deadline."""

    def __init__(self, watch: Watch):
        self.watch = watch

    def on_log(self, args: Any, state: Any, control: Any, logs: dict | None = None, **_: Any) -> None:
        if logs and "loss" in logs:
            self.watch.step(state.global_step, state.max_steps, logs["loss"])

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # begin: the last epoch is saved by then
        if time.monotonic() > self.watch.deadline:
            raise BudgetError(
                f"training was stopped after step {state.global_step} of {state.max_steps}: the time budget is used up.",
                remedy="Raise budget.minutes in rung.yaml; training goes on from the last whole epoch.",
            )


def _out_of_memory(error: BaseException) -> bool:
    """A CPU allocation that fails is a bare RuntimeError; only its text tells."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "not enough memory" in str(error).lower()
