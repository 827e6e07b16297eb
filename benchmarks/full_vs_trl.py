"""Full fine-tuning, examples a second: rung's tree batches against TRL's SFTTrainer, 32 in a batch, behind one system prompt.

Same model, rows, order, batch and steps; TRL in float32, without checkpointing, loss on the answers only. The loss curves
are compared step by step.
"""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path

import common
import numpy as np
import torch
from datasets import Dataset
from lora_step import BATCH, rows_of
from lora_vs_trl import Clock
from transformers import AutoModelForCausalLM
from trl import SFTConfig, SFTTrainer

from rung.lm.models.load import load, quiet
from rung.lm.training import train
from rung.lm.training.trainer import warmup_steps
from rung.lm.trees.tree import Row

RATE = 2e-5


def ours(machine, rows: list[Row]) -> tuple[float, list[float]]:
    """Median seconds a step, losses."""
    marks: list[float] = []
    plan = train.TrainConfig(learning_rate=RATE, epochs=1, batch=BATCH)
    with tempfile.TemporaryDirectory() as folder:
        watch = train.Watch(step=lambda *_: marks.append(common.time.perf_counter()))
        found = train.run(load(common.base_folder(), machine), rows, plan, Path(folder) / "work", watch=watch)
    return common.median([b - a for a, b in pairwise(marks)]), list(found.losses)


def theirs(chat, rows: list[Row]) -> tuple[float, list[float]]:
    order = np.random.default_rng(0).permutation(len(rows))
    data = Dataset.from_dict(
        {
            "input_ids": [list(rows[i].tokens) for i in order],
            "completion_mask": [[int(t) for t in rows[i].targets] for i in order],
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        config = SFTConfig(
            output_dir=folder,
            per_device_train_batch_size=BATCH,
            num_train_epochs=1,
            learning_rate=RATE,
            lr_scheduler_type="cosine",
            warmup_steps=warmup_steps(len(rows) // BATCH),
            max_length=max(len(row.tokens) for row in rows),
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            completion_only_loss=True,
            train_sampling_strategy="sequential",
            dataloader_pin_memory=False,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_steps=1,
        )
        clock = Clock()
        with quiet():
            model = AutoModelForCausalLM.from_pretrained(common.base_folder(), dtype=torch.float32)
            trainer = SFTTrainer(model, args=config, train_dataset=data, processing_class=chat.tokenizer, callbacks=[clock])
            trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return common.median(clock.steps[1:]), losses


def main() -> None:
    args = common.arguments(__doc__)
    machine = common.machine()
    steps = 3 if args.quick else 8
    chat = load(common.base_folder(), machine).chat
    rows = rows_of(chat, BATCH * steps)
    print(
        f"{len(rows)} rows, {sum(len(r.tokens) for r in rows) / len(rows):.0f} tokens a row, batch {BATCH}, all weights trained"
    )
    step, losses = ours(machine, rows)
    print(f"rung: {BATCH / step:.2f} examples a second")
    other_step, other = theirs(chat, rows)
    print(f"TRL: {BATCH / other_step:.2f} examples a second")
    furthest = max(abs(a - b) / abs(b) for a, b in zip(losses, other, strict=True))
    print(f"losses: {', '.join(f'{loss:.4f}' for loss in losses)}; the furthest from TRL's by {furthest:.1e} of it")
    print(f"ratio={other_step / step:.2f} examples a second, full fine-tuning, rung over TRL")


if __name__ == "__main__":
    main()
