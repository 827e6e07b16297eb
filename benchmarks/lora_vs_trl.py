"""LoRA training, examples a second: rung's tree batches against TRL's SFTTrainer at its best CPU settings.

Same model, adapters, rows, batches of 32 and steps. The gradients of the first batch are compared first, on the very
same adapter weights, in float32 on both sides. TRL runs padded and packed (no checkpointing, completion-only loss) in float32
and, where bfloat16 products are faster than float32 ones, both also under bfloat16 autocast and with all frozen weights in
bfloat16; its fastest counts. rung takes what the machine measured to be faster, as with `precision: auto`.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import common
import torch
from datasets import Dataset
from lora_step import ALPHA, BATCH, RANK, fresh, rows_of
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer

from rung.lm.models.load import quiet
from rung.lm.training import train
from rung.lm.training.losses import sft, weight
from rung.lm.trees import tree

EPOCHS = 3
"""Of rung's side."""


class Clock(TrainerCallback):
    """Seconds of each step, backward and update included."""

    def __init__(self) -> None:
        self.steps: list[float] = []

    def on_step_begin(self, *_: object, **__: object) -> None:
        self.began = common.time.perf_counter()

    def on_step_end(self, *_: object, **__: object) -> None:
        self.steps.append(common.time.perf_counter() - self.began)


def plain(machine, dtype: torch.dtype = torch.float32):
    """The same adapters without rung's attention and folded LoRA layers, for the other side; adapters are float32."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    with quiet():
        model = AutoModelForCausalLM.from_pretrained(common.base_folder(), dtype=dtype)
    torch.manual_seed(0)
    return get_peft_model(
        model, LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
    )


def trl_trainer(
    machine, chat, rows: list[tree.Row], packed: bool, folder: str, precision: str = "float32"
) -> tuple[SFTTrainer, Clock]:
    """`precision`: float32, autocast (to bfloat16) or bfloat16 (frozen weights)."""
    data = Dataset.from_dict(
        {"input_ids": [list(r.tokens) for r in rows], "completion_mask": [[int(t) for t in r.targets] for r in rows]}
    )
    longest = max(len(r.tokens) for r in rows)
    per_pack = 1024 // max(1, round(sum(len(r.tokens) for r in rows) / len(rows)))
    config = SFTConfig(
        output_dir=folder,
        per_device_train_batch_size=max(1, BATCH // per_pack) if packed else BATCH,
        max_steps=len(rows) // BATCH,
        packing=packed,
        max_length=1024 if packed else longest,
        use_cpu=True,
        bf16=precision == "autocast",
        gradient_checkpointing=False,
        completion_only_loss=True,
        learning_rate=5e-4,
        train_sampling_strategy="sequential",
        dataloader_pin_memory=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        logging_steps=10**6,
    )
    clock = Clock()
    model = plain(machine, torch.bfloat16 if precision == "bfloat16" else torch.float32)
    trainer = SFTTrainer(model, args=config, train_dataset=data, processing_class=chat.tokenizer, callbacks=[clock])
    return trainer, clock


def gradient(model) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])


def compare_gradients(machine, rows: list[tree.Row], rounds: bool) -> float:
    """Relative difference (norm of the difference over the norm) on the first batch, B moved off zero first; TRL is float32."""
    loaded, ours = fresh(machine, rounds)
    with tempfile.TemporaryDirectory() as folder:
        trainer, _ = trl_trainer(machine, loaded.chat, rows[:BATCH], packed=False, folder=folder)
        theirs = trainer.model
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for mine, other in zip(
                (p for p in ours.parameters() if p.requires_grad), (p for p in theirs.parameters() if p.requires_grad)
            ):
                mine.copy_(torch.randn(mine.shape, generator=generator) * 0.02)
                other.copy_(mine)
        batch = next(iter(trainer.get_train_dataloader()))
        ours.train()
        theirs.train()
        trainer.compute_loss(theirs, dict(batch)).backward()
        (sft(ours, rows[:BATCH], True) / weight(rows[:BATCH])).backward()
    return float((gradient(ours) - gradient(theirs)).norm() / gradient(theirs).norm())


def main() -> None:
    args = common.arguments(__doc__)
    machine = common.machine(auto=True)
    steps = 3 if args.quick else 8
    loaded, model = fresh(machine, rounds=True)
    print(f"frozen layers: {'bfloat16' if machine.frozen_bf16 else 'float32'}")
    rows = rows_of(loaded.chat, BATCH * steps)
    print(
        f"{len(rows)} rows, {sum(len(r.tokens) for r in rows) / len(rows):.0f} tokens a row, system prompt of "
        f"{loaded.chat.length(common.SYSTEM)} tokens, batch {BATCH}, LoRA rank {RANK} on all linear layers"
    )
    difference = compare_gradients(machine, rows, rounds=False)
    print(f"gradient of the first batch in float32, relative difference: {difference:.1e}")
    if machine.frozen_bf16:
        print(f"the same with rung's frozen layers in bfloat16: {compare_gradients(machine, rows, rounds=True):.1e}")
    marks: list[float] = [common.time.perf_counter()]
    # several times the rows, since these steps are short; no checkpoint but the last, as on the other side
    plan = train.TrainConfig(learning_rate=5e-4, epochs=EPOCHS, batch=BATCH, save=steps * EPOCHS)
    with tempfile.TemporaryDirectory() as folder:
        train.run(
            replace(loaded, model=model),
            rows,
            plan,
            Path(folder) / "work",
            watch=train.Watch(step=lambda *_: marks.append(common.time.perf_counter())),
        )
    ours = [b - a for a, b in pairwise(marks[1:])]  # the first step warms up
    ours_speed = BATCH / common.median(ours)
    print(f"rung: {ours_speed:.2f} examples a second (median of {len(ours)} steps)")

    def speed(packed: bool, precision: str) -> float:
        with tempfile.TemporaryDirectory() as folder:
            trainer, clock = trl_trainer(machine, loaded.chat, rows, packed, folder, precision)
            with quiet():
                trainer.train()
            taken = clock.steps[1:] or clock.steps
            found = trainer.state.epoch * len(rows) / len(clock.steps) / common.median(taken)  # a pack holds as many as fit
        print(f"TRL, {'packed' if packed else 'padded'}, {precision}: {found:.2f} examples a second", flush=True)
        return found

    speeds = {(packed, "float32"): speed(packed, "float32") for packed in (False, True)}
    if machine.gflops.get("bfloat16", 0) > machine.gflops["float32"]:
        speeds |= {(packed, kind): speed(packed, kind) for packed in (False, True) for kind in ("autocast", "bfloat16")}
    else:
        print("TRL in bfloat16 was not tried: products in it are slower here")
    best = max(speeds.values())
    print(f"ratio={ours_speed / best:.2f} examples a second, rung over TRL's best; float32 gradients differ by {difference:.0e}")


if __name__ == "__main__":
    main()
