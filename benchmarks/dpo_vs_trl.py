"""DPO, pairs a second: rung's trees, where a pair shares its question, against TRL's DPOTrainer at its best CPU settings.

Same model, LoRA, pairs, order, batch and steps; the reference's pass is counted on both sides, once over the pairs. TRL runs
in float32, without checkpointing, its reference computed beforehand, a step whole or in twos (less padding); the faster
counts. The loss curves are compared step by step.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import common
import numpy as np
import pairs
from datasets import Dataset
from lora_step import ALPHA, RANK, fresh
from lora_vs_trl import Clock, plain
from trl import DPOConfig, DPOTrainer

from rung.lm.models.load import quiet
from rung.lm.training import preferences, train
from rung.lm.training.trainer import warmup_steps
from rung.lm.trees.tree import count

BATCH, BETA, RATE = 8, 0.1, 1e-4


class AsGiven(DPOTrainer):
    """Takes rows of tokens as they are, so that both sides read the same ones."""

    def _prepare_dataset(self, dataset, *_):
        return dataset


def ours(machine, rows) -> tuple[float, float, list[float]]:
    """Seconds of the reference's pass, median seconds a step, losses."""
    loaded, _ = pairs.base(machine)
    flat = [row for two in rows for row in two]
    known: list[float] = []
    reading = common.timed(lambda: known.extend(preferences.score_rows(loaded, flat)))
    items = preferences.with_reference([preferences.Pair(*two) for two in rows], dict(zip(flat, known)))
    loaded, model = fresh(machine)
    loss, made = preferences.dpo(BETA)
    marks: list[float] = []
    plan = train.TrainConfig(learning_rate=RATE, epochs=1, batch=BATCH)
    with tempfile.TemporaryDirectory() as folder:
        watch = train.Watch(step=lambda *_: marks.append(common.time.perf_counter()))
        found = train.run(replace(loaded, model=model), items, plan, Path(folder) / "work", loss=loss, items=made, watch=watch)
    return reading, common.median([b - a for a, b in pairwise(marks)]), list(found.losses)


def theirs(machine, chat, rows, together: int) -> tuple[float, float, list[float]]:
    table = [
        {
            "prompt_ids": list(better.tokens[: better.targets.index(True)]),
            "chosen_ids": list(better.tokens[better.targets.index(True) :]),
            "rejected_ids": list(worse.tokens[worse.targets.index(True) :]),
        }
        for better, worse in (rows[i] for i in np.random.default_rng(0).permutation(len(rows)))
    ]
    with tempfile.TemporaryDirectory() as folder:
        config = DPOConfig(
            output_dir=folder,
            per_device_train_batch_size=together,
            gradient_accumulation_steps=BATCH // together,
            precompute_ref_log_probs=True,
            num_train_epochs=1,
            learning_rate=RATE,
            lr_scheduler_type="cosine",
            warmup_steps=warmup_steps(len(rows) // BATCH),
            beta=BETA,
            max_length=None,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            train_sampling_strategy="sequential",
            dataloader_pin_memory=False,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_steps=1,
        )
        clock, model, data = Clock(), plain(machine), Dataset.from_list(table)
        with quiet():
            started = common.time.perf_counter()  # the reference's pass is made as the trainer is
            trainer = AsGiven(model, args=config, train_dataset=data, processing_class=chat.tokenizer, callbacks=[clock])
            reading = common.time.perf_counter() - started
            trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return reading, common.median(clock.steps[1:]), losses


def main() -> None:
    args = common.arguments(__doc__)
    machine = common.machine()
    steps = 3 if args.quick else 6
    loaded, _ = pairs.base(machine)
    rows = pairs.rows(loaded, pairs.hh(), BATCH * steps, least=200, most=480)
    prompt = sum(better.targets.index(True) for better, _ in rows) / len(rows)
    answer = sum(sum(row.targets) for two in rows for row in two) / len(rows) / 2
    whole = sum(len(row.tokens) for two in rows for row in two)
    nodes = sum(count(two)[1] for two in rows)
    print(
        f"{len(rows)} pairs of hh_rlhf, {prompt:.0f} tokens of question and {answer:.0f} an answer on average, "
        f"{whole} tokens as they stand and {nodes} once a pair shares them; {BATCH} a step, LoRA {RANK}/{ALPHA}"
    )
    reading, step, losses = ours(machine, rows)
    speed = BATCH / (step + reading / steps)
    print(f"rung: {speed:.3f} pairs a second (reference {reading:.1f} s in all, step {step:.1f} s)")
    speeds, furthest = {}, 0.0
    for together in (BATCH, 2):
        other_reading, other_step, other = theirs(machine, loaded.chat, rows, together)
        speeds[together] = BATCH / (other_step + other_reading / steps)
        furthest = max(furthest, *(abs(a - b) / abs(b) for a, b in zip(losses, other, strict=True)))
        took = f"reference {other_reading:.1f} s in all, step {other_step:.1f} s"
        print(f"TRL, {together} at once: {speeds[together]:.3f} pairs a second ({took})")
    print(f"losses: {', '.join(f'{loss:.4f}' for loss in losses)}; the furthest from TRL's by {furthest:.1e} of it")
    print(f"ratio={speed / max(speeds.values()):.2f} pairs a second, rung over TRL's best, reference counted on both sides")


if __name__ == "__main__":
    main()
