"""The one training loop: transformers' Trainer fed with steps of rows, each computed as prefix trees within a token budget."""

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
"""From the model, the items of one part of a step and whether the model takes trees to a sum over the items."""

SAVES, SAVES_LARGE, LARGE = 10, 3, 10**8
"""Checkpoints a training at most, and where so many parameters are trained: each is as large as these and their two moments."""

BRIEF = 10
"""Steps under which there is no warm-up: the first step of one has a rate of 0 and learns nothing."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How to train. Steps count optimizer updates."""

    learning_rate: float
    epochs: int
    batch: int = 32
    """Items a step: rows, or pairs or groups of them."""
    repeat: int = 1
    """Updates made one after another on each step's items."""
    save: int = 0
    """Steps between two checkpoints, a multiple of `repeat`; 0 makes about ten. With `patience` they come with the looks."""
    tokens: int = 2048
    """Nodes a part of a step may hold; a larger step is computed in parts and updated once."""
    warmup: float = 0.1
    """Share of the steps over which the learning rate rises, where there are ten; then it falls along a cosine."""
    floor: float = 0.0
    """Share of the highest learning rate that it falls to."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Memory of AdamW's two moments."""
    weight_decay: float = 0.0
    """Of matrices; norms and biases are left alone."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    mixed: bool = False
    """Compute in bfloat16 while the weights stay in float32: small updates would be rounded away in bfloat16."""
    patience: int = 0
    """Stop after so many looks at the held score without a better one and keep the best; 0 takes all steps and keeps the last."""
    looks: int = 0
    """Times that it is looked at at most, evenly over the steps and after the last; 0 looks after each epoch."""
    seed: int = 0


@dataclass(frozen=True)
class Items:
    """What a step is made of. By default rows, each on its own; pairs and groups of rows stay in one part, as one tree."""

    rows: Callable[[Any], Sequence[Row]] = lambda row: (row,)
    """The rows of an item."""
    weight: Callable[[Sequence[Any]], float] = losses.weight
    """What the loss summed over a whole step is divided by."""
    ready: Callable[[Sequence[Any], int], Sequence[Any]] = lambda items, step: items
    """Called with the drawn items and the number of steps done, the model as it is then and evaluating; what it returns
    is trained on. Samples are drawn here, and what a loss needs to know of the whole step is put into its items. Of several
    processes the leading one does it for all."""
    check: Callable[[Sequence[Row], Loaded], None] = training_checks.unlearnable
    """Refuses rows, all of them at once, before the first step."""


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
    place: Path | None = None
    """Where trackers write files, if they do; without one among the checkpoints, with which they are deleted."""


@dataclass(frozen=True)
class Trained:
    """What happened: loss by step, held score by look, and the measured speed."""

    losses: tuple[float, ...]
    held: tuple[float, ...]
    seconds: float
    rows_seen: int
    """Rows (or pairs, or groups of them) trained on, all epochs counted."""
    nodes: int
    """Tokens computed after sharing, all epochs."""


def run(
    loaded: Loaded,
    rows: Sequence[Any],
    plan: Plan,
    folder: Path,
    *,
    loss: Loss = losses.sft,
    items: Items = Items(),
    held: Callable[[], float] | None = None,
    watch: Watch = Watch(),
) -> Trained:
    """Train `loaded.model` in place on `rows` and return the history. Where rows come in pairs or groups, `items` says how.

    `held()` scores the model at each look, higher is better; with `plan.patience` it stops training early and chooses the
    checkpoint. `folder` holds the checkpoints: a run that was killed goes on from the last one, and the
    checkpoints are deleted once training is done. Of several processes (`rung.lm.processes`) each computes a share of every
    step, the gradient is that of the whole step, and the leading one's `folder`, `held` and deadline count.
    """
    training_checks.spread(loaded)
    training_checks.pad_that_ends(loaded)
    known = [row for item in rows for row in items.rows(item)]
    if known or not rows:  # rows that are yet to be sampled cannot be checked
        items.check(known, loaded)
    orders = [np.random.default_rng(plan.seed + epoch).permutation(len(rows)).tolist() for epoch in range(plan.epochs)]
    steps = [
        [rows[i] for i in order[start : start + plan.batch]]
        for order in orders
        for start in range(0, len(rows), plan.batch)
        for _ in range(plan.repeat)
    ]
    gap = plan.repeat * math.ceil(len(steps) / (plan.repeat * (plan.looks or plan.epochs)))
    if processes.leads():
        training_checks.cut_short(folder)
    folder, last = processes.broadcast((folder, get_last_checkpoint(str(folder)) if folder.is_dir() else None))
    processes.make_same(p.data for p in loaded.model.parameters() if p.requires_grad)
    trainer = _trainer(loaded, steps, gap, plan, folder, (loss, items), held, watch)
    started = time.monotonic()
    with quiet():
        trainer.train(resume_from_checkpoint=last)
    loaded.model.eval()
    processes.wait()
    if processes.leads():
        shutil.rmtree(folder, ignore_errors=True)
    history = trainer.state.log_history
    return Trained(
        losses=tuple(entry["loss"] for entry in history if "loss" in entry),
        held=tuple(entry["eval_held"] for entry in history if "eval_held" in entry),
        seconds=time.monotonic() - started,
        rows_seen=trainer.rows_seen,
        nodes=trainer.nodes,
    )


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


def _save_steps(steps: int, gap: int, choosing: bool, plan: Plan, trained: int) -> int:
    """With a choice among checkpoints each is scored, so they come with the looks; never between two updates on one draw."""
    saves = SAVES_LARGE if trained >= LARGE else SAVES
    return gap if choosing else plan.save or plan.repeat * math.ceil(steps / (saves * plan.repeat))


def _trainer(
    loaded: Loaded, steps: list, gap: int, plan: Plan, folder: Path, aim: tuple[Loss, Items], held: Any, watch: Watch
) -> Any:
    choosing = held is not None and plan.patience > 0
    trained = sum(p.numel() for p in loaded.model.parameters() if p.requires_grad)
    arguments = TrainingArguments(
        output_dir=str(watch.place or folder),  # some trackers take it as it is now
        per_device_train_batch_size=1,  # an item of the dataset is already a whole step
        num_train_epochs=1,  # … and the dataset holds all epochs, each in its own order
        learning_rate=plan.learning_rate,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": plan.floor},
        warmup_steps=math.ceil(plan.warmup * len(steps)) if len(steps) >= BRIEF else 0,
        weight_decay=plan.weight_decay,
        adam_beta1=plan.betas[0],
        adam_beta2=plan.betas[1],
        max_grad_norm=plan.clip,
        logging_steps=1,
        save_strategy="steps",
        save_steps=_save_steps(len(steps), gap, choosing, plan, trained),
        save_total_limit=2 if choosing else 1,
        eval_strategy="steps" if choosing else "no",
        eval_steps=gap,
        load_best_model_at_end=choosing,
        restore_callback_states_from_checkpoint=choosing,  # the count of looks without a better score
        metric_for_best_model="held",
        greater_is_better=True,
        use_cpu=loaded.device.type == "cpu",
        bf16=plan.mixed,  # else the weights already are in the type to compute in
        seed=plan.seed,
        disable_tqdm=True,
        report_to=list(watch.trackers) or "none",
        remove_unused_columns=False,
    )
    arguments.mixed_precision = "bf16" if plan.mixed else "no"  # whatever a launcher's configuration says
    arguments._n_gpu = min(1, arguments.n_gpu)  # else a process that sees several GPUs draws that many steps at once
    callbacks: list[TrainerCallback] = [_Watching(watch)]
    if choosing:
        callbacks.append(EarlyStoppingCallback(plan.patience))
    trainer = _StepTrainer(loaded, aim, held, plan.tokens, watch, args=arguments, steps=steps, callbacks=callbacks)
    trainer.remove_callback(PrinterCallback)
    arguments.output_dir = str(folder)
    for tracker in trainer.callback_handler.callbacks:
        if isinstance(tracker, TensorBoardCallback) and tracker.logging_dir is None:  # the user's own variable names none
            tracker.logging_dir = str(watch.place or folder)
    return trainer


class _StepTrainer(Trainer):
    """Trainer whose dataset's item is a step: what is cut into parts within the token budget and updated once."""

    def __init__(
        self, loaded: Loaded, aim: tuple[Loss, Items], held: Any, tokens: int, watch: Watch, *, steps: list, **kwargs: Any
    ):
        self.loaded, self.held, self.budget = loaded, held, out_of_memory.Budget(tokens, watch.say)
        self.loss, self.items = aim
        self.nodes = self.rows_seen = 0
        super().__init__(
            model=loaded.model,
            train_dataset=steps,
            eval_dataset=steps[:1],  # never read: `evaluate` below asks `held`; Trainer wants one named
            **kwargs,
        )

    def create_accelerator_and_postprocess(self) -> None:
        super().create_accelerator_and_postprocess()
        if processes.several() and not processes.shards():
            # no DistributedDataParallel, which counts on as many parts in each process and cannot compute one again
            self.accelerator.prepare_model = partial(self.accelerator.prepare_model, evaluation_mode=True)

    def get_train_dataloader(self) -> DataLoader:
        """Every process draws every step, and finds its share in it."""
        steps: Any = self.train_dataset
        return DataLoader(steps, batch_size=1, collate_fn=lambda drawn: {"step": drawn[0]})

    def training_step(self, model: Any, inputs: dict, num_items_in_batch: Any = None) -> torch.Tensor:
        self.loaded.model.eval()
        drawn = inputs["step"]
        if processes.leads() or processes.shards():  # a pass over spread weights takes all processes
            drawn = self.items.ready(drawn, self.state.global_step)
        items = processes.broadcast(drawn)
        self.loaded.model.train()
        while True:
            try:
                total, nodes = self._computed(items)
                break
            except out_of_memory.ERRORS as error:
                self.budget.halve(error)
                self.loaded.model.zero_grad()  # the parts already computed are computed again
        if processes.several():
            total, nodes = self._summed(total, nodes)
        self.nodes += nodes
        self.rows_seen += len(items)
        return total

    def _computed(self, items: Sequence[Any]) -> tuple[torch.Tensor, int]:
        """Gradients of this process's share of a step, part by part; its part of the step's loss and the tokens computed."""
        whole, total, nodes = self.items.weight(items), torch.zeros((), device=self.args.device), 0
        groups = [self.items.rows(item) for item in items]
        for part, counts in self._parts(groups):
            value = counts * self.loss(self.loaded.model, [items[i] for i in part], self.loaded.trees) / whole
            # spread gradients are averaged over the processes, and are to be added up
            self.accelerator.backward(value * processes.place()[1] if processes.shards() else value)
            total += value.detach()
            nodes += tree.count(row for i in part for row in groups[i])[1]
        return total, nodes

    def _parts(self, groups: Sequence[Sequence[Row]]) -> list[tuple[list[int], float]]:
        """What this process computes of a step, within the token budget, and how much each part counts."""
        order = sorted(range(len(groups)), key=lambda i: groups[i][0].tokens)
        number, count = processes.place()
        shares = tree.shares(groups, order, count)
        mine = [(part, 1.0) for part in tree.cut_groups(groups, shares[number], self.budget.tokens)]
        if processes.shards():  # with fewer parts than another, go along with its passes for nothing
            parts = [tree.cut_groups(groups, share, self.budget.tokens) for share in shares]
            mine += [(max(parts, key=len)[0], 0.0)] * (max(map(len, parts)) - len(mine))
        return mine

    def _summed(self, total: torch.Tensor, nodes: int) -> tuple[torch.Tensor, int]:
        """The loss and the tokens of the whole step, and its gradient where weights are kept whole."""
        trained = [p for p in self.loaded.model.parameters() if p.requires_grad]
        for parameter in [] if processes.shards() else trained:
            if parameter.grad is None:  # a share may be empty, or not touch all weights
                parameter.grad = torch.zeros_like(parameter)
        both = torch.stack([total, torch.tensor(float(nodes), device=total.device)])
        processes.all_reduce([both, *([] if processes.shards() else [p.grad for p in trained])])
        return both[0], int(both[1])

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        self.loaded.model.eval()
        alone = processes.leads() or processes.shards()
        found = {"eval_held": processes.broadcast(self.held() if alone else 0.0)}
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

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # begin: what was due is saved by then
        if processes.broadcast(time.monotonic() > self.watch.deadline):
            raise BudgetError(
                f"training was stopped after step {state.global_step} of {state.max_steps}: the time budget is used up.",
                remedy="Raise budget.minutes in rung.yaml; training goes on from the last checkpoint.",
            )
