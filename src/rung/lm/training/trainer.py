"""transformers' Trainer as the training loop uses it: a dataset item is a step, computed in parts and updated once."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from transformers import EarlyStoppingCallback, PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.integrations import TensorBoardCallback

from rung.errors import BudgetError
from rung.lm import out_of_memory, processes
from rung.lm.models.load import Loaded
from rung.lm.training.config import Items, Loss, TrainConfig, Watch
from rung.lm.training.stopping import NoLastCheckpoint, StableDecay
from rung.lm.trees import tree
from rung.lm.trees.tree import Row

MAX_CHECKPOINTS, MAX_CHECKPOINTS_LARGE, LARGE = 10, 3, 10**8
"""Most checkpoints of a training, and of one with LARGE trained parameters: each holds them and their two moments."""

MIN_WARMUP_STEPS = 10
"""Fewest steps for a warm-up: in it the cosine's first step has a learning rate of 0, and is wasted."""


def warmup_steps(steps: int, share: float = TrainConfig.warmup) -> int:
    """Steps of warm-up among all of a training."""
    return math.ceil(share * steps) if steps >= MIN_WARMUP_STEPS else 0


def save_steps(steps: int, gap: int, choosing: bool, config: TrainConfig, trained: int) -> int:
    """One checkpoint per evaluation if the best is selected; never between two updates on the same samples."""
    saves = MAX_CHECKPOINTS_LARGE if trained >= LARGE else MAX_CHECKPOINTS
    return gap if choosing else config.save or config.repeat * math.ceil(steps / (saves * config.repeat))


def made(
    loaded: Loaded, steps: list, gap: int, config: TrainConfig, folder: Path, aim: tuple[Loss, Items], validate: Any, watch: Watch
) -> StepTrainer:
    """The Trainer of these steps. `gap`: steps between two evaluations; the rest as in `rung.lm.training.train.run`."""
    choosing = validate is not None and config.patience > 0
    now = str(watch.tracker_folder or folder)  # some trackers read it now
    arguments = _arguments(loaded, len(steps), gap, config, now, choosing, watch.trackers)
    callbacks: list[TrainerCallback] = [WatchCallback(watch)]
    schedule = None
    if choosing:
        callbacks.append(EarlyStoppingCallback(config.patience))
    elif config.steady:
        epoch = math.ceil(len(steps) / config.epochs)
        schedule = StableDecay(len(steps), epoch, config.stop_below, round(arguments.warmup_steps), config.floor)
        callbacks.append(NoLastCheckpoint(schedule))
    trainer = StepTrainer(
        loaded, aim, validate, config.tokens, watch, schedule=schedule, args=arguments, steps=steps, callbacks=callbacks
    )
    trainer.remove_callback(PrinterCallback)
    arguments.output_dir = str(folder)
    for tracker in trainer.callback_handler.callbacks:
        if isinstance(tracker, TensorBoardCallback) and tracker.logging_dir is None:  # the user has not set its variable
            tracker.logging_dir = str(watch.tracker_folder or folder)
    return trainer


def _arguments(
    loaded: Loaded, steps: int, gap: int, config: TrainConfig, folder: str, choosing: bool, trackers: Sequence[str]
) -> TrainingArguments:
    trained = sum(p.numel() for p in loaded.model.parameters() if p.requires_grad)
    arguments = TrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=1,  # a dataset item is already a whole step
        num_train_epochs=1,  # … and the dataset contains all epochs, each in its own order
        learning_rate=config.learning_rate,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": config.floor},
        warmup_steps=warmup_steps(steps, config.warmup),
        weight_decay=config.weight_decay,
        adam_beta1=config.betas[0],
        adam_beta2=config.betas[1],
        max_grad_norm=config.clip,
        logging_steps=1,
        save_strategy="steps",
        save_steps=save_steps(steps, gap, choosing, config, trained),
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
        report_to=list(trackers) or "none",
        remove_unused_columns=False,
    )
    arguments.mixed_precision = "bf16" if config.mixed else "no"  # whatever a launcher's configuration says
    arguments._n_gpu = min(1, arguments.n_gpu)  # otherwise a process that sees several GPUs takes that many steps at once
    return arguments


class StepTrainer(Trainer):
    """Trainer whose dataset items are steps: each is split into parts within the token budget and updated once."""

    def __init__(
        self,
        loaded: Loaded,
        aim: tuple[Loss, Items],
        validate: Any,
        tokens: int,
        watch: Watch,
        *,
        schedule: StableDecay | None,
        steps: list,
        **kwargs: Any,
    ):
        self.loaded, self.validate, self.budget = loaded, validate, out_of_memory.Budget(tokens, watch.say)
        self.loss, self.items = aim
        self.schedule = schedule
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

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        if self.schedule is None:
            return super().create_scheduler(num_training_steps, optimizer)
        given: Any = optimizer or self.optimizer
        self.lr_scheduler = LambdaLR(given, self.schedule)
        return self.lr_scheduler

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
        if self.schedule:
            self.schedule.see(self.state.global_step + 1, float(total))
            self.state.max_steps = self.schedule.end
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


class WatchCallback(TrainerCallback):
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
