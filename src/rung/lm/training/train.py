"""The one training loop: transformers' Trainer over steps of rows, each computed as prefix trees within a token budget."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from transformers import EarlyStoppingCallback, PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.integrations import TensorBoardCallback
from transformers.trainer_utils import get_last_checkpoint

from rung.errors import BudgetError
from rung.lm import out_of_memory, processes
from rung.lm.models.load import Loaded
from rung.lm.quiet import quiet
from rung.lm.training import losses, training_checks
from rung.lm.trees import tree
from rung.lm.trees.tree import Row

Loss = Callable[[Any, Sequence[Any], bool], torch.Tensor]
"""From the model, the items of one part of a step, and whether the model supports trees, to a sum over the items."""

MAX_CHECKPOINTS, MAX_CHECKPOINTS_LARGE, LARGE = 10, 3, 10**8
"""Most checkpoints of a training, and of one with LARGE trained parameters: each holds them and their two moments."""

MIN_WARMUP_STEPS = 10
"""Fewest steps for a warm-up: its first step has a learning rate of 0 and would be wasted."""


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
    """Share of the steps for the learning rate's warm-up, from ten steps on; then it decays along a cosine."""
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
    orders = [np.random.default_rng(config.seed + epoch).permutation(len(rows)).tolist() for epoch in range(config.epochs)]
    steps = [
        [rows[i] for i in order[start : start + config.batch]]
        for order in orders
        for start in range(0, len(rows), config.batch)
        for _ in range(config.repeat)
    ]
    gap = config.repeat * math.ceil(len(steps) / (config.repeat * (config.evaluations or config.epochs)))
    if processes.is_main_process():
        training_checks.delete_partial_checkpoints(folder)
    folder, last = processes.broadcast((folder, get_last_checkpoint(str(folder)) if folder.is_dir() else None))
    processes.broadcast_tensors(p.data for p in loaded.model.parameters() if p.requires_grad)
    trainer = _trainer(loaded, steps, gap, config, folder, (loss, items), validate, watch)
    started = time.monotonic()
    with quiet():
        trainer.train(resume_from_checkpoint=last)
    loaded.model.eval()
    processes.barrier()
    if processes.is_main_process():
        shutil.rmtree(folder, ignore_errors=True)
    history = trainer.state.log_history
    return History(
        losses=tuple(entry["loss"] for entry in history if "loss" in entry),
        scores=tuple(entry["eval_held"] for entry in history if "eval_held" in entry),
        seconds=time.monotonic() - started,
        rows_seen=trainer.rows_seen,
        nodes=trainer.nodes,
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
    }


def _save_steps(steps: int, gap: int, choosing: bool, config: TrainConfig, trained: int) -> int:
    """One checkpoint per evaluation if the best is selected; never between two updates on the same samples."""
    saves = MAX_CHECKPOINTS_LARGE if trained >= LARGE else MAX_CHECKPOINTS
    return gap if choosing else config.save or config.repeat * math.ceil(steps / (saves * config.repeat))


def _trainer(
    loaded: Loaded, steps: list, gap: int, config: TrainConfig, folder: Path, aim: tuple[Loss, Items], validate: Any, watch: Watch
) -> Any:
    choosing = validate is not None and config.patience > 0
    trained = sum(p.numel() for p in loaded.model.parameters() if p.requires_grad)
    arguments = TrainingArguments(
        output_dir=str(watch.tracker_folder or folder),  # some trackers read it now
        per_device_train_batch_size=1,  # a dataset item is already a whole step
        num_train_epochs=1,  # … and the dataset contains all epochs, each in its own order
        learning_rate=config.learning_rate,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": config.floor},
        warmup_steps=math.ceil(config.warmup * len(steps)) if len(steps) >= MIN_WARMUP_STEPS else 0,
        weight_decay=config.weight_decay,
        adam_beta1=config.betas[0],
        adam_beta2=config.betas[1],
        max_grad_norm=config.clip,
        logging_steps=1,
        save_strategy="steps",
        save_steps=_save_steps(len(steps), gap, choosing, config, trained),
        save_total_limit=2 if choosing else 1,
        eval_strategy="steps" if choosing else "no",
        eval_steps=gap,
        load_best_model_at_end=choosing,
        restore_callback_states_from_checkpoint=choosing,  # the number of evaluations without a better score
        metric_for_best_model="held",
        greater_is_better=True,
        use_cpu=loaded.device.type == "cpu",
        bf16=config.mixed,  # otherwise the weights are already in the compute dtype
        seed=config.seed,
        disable_tqdm=True,
        report_to=list(watch.trackers) or "none",
        remove_unused_columns=False,
    )
    arguments.mixed_precision = "bf16" if config.mixed else "no"  # whatever a launcher's configuration says
    arguments._n_gpu = min(1, arguments.n_gpu)  # otherwise a process that sees several GPUs takes that many steps at once
    callbacks: list[TrainerCallback] = [_WatchCallback(watch)]
    if choosing:
        callbacks.append(EarlyStoppingCallback(config.patience))
    trainer = _StepTrainer(loaded, aim, validate, config.tokens, watch, args=arguments, steps=steps, callbacks=callbacks)
    trainer.remove_callback(PrinterCallback)
    arguments.output_dir = str(folder)
    for tracker in trainer.callback_handler.callbacks:
        if isinstance(tracker, TensorBoardCallback) and tracker.logging_dir is None:  # the user has not set its variable
            tracker.logging_dir = str(watch.tracker_folder or folder)
    return trainer


class _StepTrainer(Trainer):
    """Trainer whose dataset items are steps: each is split into parts within the token budget and updated once."""

    def __init__(
        self, loaded: Loaded, aim: tuple[Loss, Items], validate: Any, tokens: int, watch: Watch, *, steps: list, **kwargs: Any
    ):
        self.loaded, self.validate, self.budget = loaded, validate, out_of_memory.Budget(tokens, watch.say)
        self.loss, self.items = aim
        self.nodes = self.rows_seen = 0
        super().__init__(
            model=loaded.model,
            train_dataset=steps,
            eval_dataset=steps[:1],  # never read: `evaluate` below calls `validate`; Trainer requires a dataset
            **kwargs,
        )

    def create_accelerator_and_postprocess(self) -> None:
        super().create_accelerator_and_postprocess()
        if processes.is_distributed() and not processes.uses_fsdp():
            # no DistributedDataParallel: it needs the same number of parts in each process and cannot retry one
            self.accelerator.prepare_model = partial(self.accelerator.prepare_model, evaluation_mode=True)

    def get_train_dataloader(self) -> DataLoader:
        """Every process gets every step, and computes its share of it."""
        steps: Any = self.train_dataset
        return DataLoader(steps, batch_size=1, collate_fn=lambda batch: {"step": batch[0]})

    def training_step(self, model: Any, inputs: dict, num_items_in_batch: Any = None) -> torch.Tensor:
        self.loaded.model.eval()
        prepared = inputs["step"]
        if processes.is_main_process() or processes.uses_fsdp():  # sharded weights need all processes in a pass
            prepared = self.items.prepare(prepared, self.state.global_step)
        items = processes.broadcast(prepared)
        self.loaded.model.train()
        while True:
            try:
                total, nodes = self._accumulate(items)
                break
            except out_of_memory.ERRORS as error:
                self.budget.halve(error)
                self.loaded.model.zero_grad()  # parts that are done are computed again
        if processes.is_distributed():
            total, nodes = self._all_reduce(total, nodes)
        self.nodes += nodes
        self.rows_seen += len(items)
        return total

    def _accumulate(self, items: Sequence[Any]) -> tuple[torch.Tensor, int]:
        """Accumulate the gradients of this process's share of a step; returns its part of the loss and the tokens computed."""
        whole, total, nodes = self.items.weight(items), torch.zeros((), device=self.args.device), 0
        groups = [self.items.rows(item) for item in items]
        for part, counts in self._parts(groups):
            value = counts * self.loss(self.loaded.model, [items[i] for i in part], self.loaded.trees) / whole
            # FSDP averages gradients over the processes; the step needs their sum
            self.accelerator.backward(value * processes.rank_and_world_size()[1] if processes.uses_fsdp() else value)
            total += value.detach()
            nodes += tree.count(row for i in part for row in groups[i])[1]
        return total, nodes

    def _parts(self, groups: Sequence[Sequence[Row]]) -> list[tuple[list[int], float]]:
        """This process's parts of a step, within the token budget, and the weight of each."""
        order = sorted(range(len(groups)), key=lambda i: groups[i][0].tokens)
        rank, world_size = processes.rank_and_world_size()
        shares = tree.split_evenly(groups, order, world_size)
        mine = [(part, 1.0) for part in tree.split_groups(groups, shares[rank], self.budget.tokens)]
        if processes.uses_fsdp():  # every process must make the same number of passes
            parts = [tree.split_groups(groups, share, self.budget.tokens) for share in shares]
            mine += [(max(parts, key=len)[0], 0.0)] * (max(map(len, parts)) - len(mine))
        return mine

    def _all_reduce(self, total: torch.Tensor, nodes: int) -> tuple[torch.Tensor, int]:
        """Loss and tokens of the whole step; also sums the gradients if the weights are not sharded."""
        trained = [p for p in self.loaded.model.parameters() if p.requires_grad]
        for parameter in [] if processes.uses_fsdp() else trained:
            if parameter.grad is None:  # a share may be empty, or not use all weights
                parameter.grad = torch.zeros_like(parameter)
        both = torch.stack([total, torch.tensor(float(nodes), device=total.device)])
        processes.all_reduce([both, *([] if processes.uses_fsdp() else [p.grad for p in trained])])
        return both[0], int(both[1])

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        self.loaded.model.eval()
        takes_part = processes.is_main_process() or processes.uses_fsdp()
        metrics = {"eval_held": processes.broadcast(self.validate() if takes_part else 0.0)}
        self.loaded.model.train()
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


class _WatchCallback(TrainerCallback):
    """Calls `watch.step` after each step, and stops at the deadline."""

    def __init__(self, watch: Watch):
        self.watch = watch

    def on_log(self, args: Any, state: Any, control: Any, logs: dict | None = None, **_: Any) -> None:
        if logs and "loss" in logs:
            self.watch.step(state.global_step, state.max_steps, logs["loss"])

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # a due checkpoint is saved by now
        if processes.broadcast(time.monotonic() > self.watch.deadline):
            raise BudgetError(
                f"training was stopped after step {state.global_step} of {state.max_steps}: the time budget is used up.",
                remedy="Raise budget.minutes in rung.yaml; training resumes from the last checkpoint.",
            )
