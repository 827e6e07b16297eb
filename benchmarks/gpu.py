"""LoRA and full tuning on a GPU, tokens a second: rung against transformers' Trainer with padding-free packing and compile.

A Llama of 0.1 to 1 B parameters with random weights, one system prompt in front of every row. Computed in bf16; where all
weights are trained they are kept in float32, on both sides. The other side flattens each step into one row
(DataCollatorWithFlattening) over FlashAttention-2 where it is installed, FlexAttention with its block mask, and sdpa, each
compiled and not; its fastest counts. Both sides train on the same rows, 32 a step, in the same order. A token is a token of a
row as it stands, on both sides. Model FLOP utilisation counts the operations of all those tokens (4 a parameter with LoRA, 6
with all weights, attention left out) against the bf16 matrix product measured on this device just before; that of what rung
really computes, shared tokens once, stands beside it.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import common
import numpy as np
import torch
from transformers import (
    DataCollatorWithFlattening,
    LlamaConfig,
    LlamaForCausalLM,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from rung.lm import probe
from rung.lm.models import adapters
from rung.lm.models.load import Loaded
from rung.lm.quiet import quiet
from rung.lm.training import train
from rung.lm.training.trainer import warmup_steps
from rung.lm.trees import attention
from rung.lm.trees.tree import Row

SHAPES = {  # width, inner width, layers, heads, heads of keys
    "0.1B": (768, 2048, 12, 12, 4),
    "0.4B": (1024, 2816, 24, 16, 8),
    "1B": (2048, 5632, 22, 32, 8),
    "tiny": (64, 128, 2, 4, 2),
}
VOCABULARY, BATCH, RANK, ALPHA, RATE = 32000, 32, 16, 32, 1e-4
SYSTEM, OWN, ANSWER = 256, 64, 16
"""Tokens of the system prompt, of a row's own question and of its answer, of which the last two vary by half."""


@dataclass(frozen=True)
class Bench:
    """What both sides are given."""

    device: str
    dtype: torch.dtype
    rows: list[Row]
    steps: int
    tokens: int
    """Nodes a part of a step may hold."""


@dataclass(frozen=True)
class Speed:
    """What one side reached."""

    step: float
    """Median seconds a step, the first ones left out."""
    losses: list[float]
    computed: int = 0
    """Tokens computed over all steps, where that is not all of them."""


def rows_of(vocabulary: int, count: int, short: int) -> list[Row]:
    """Rows behind one system prompt, made by a fixed seed. `short` divides all lengths."""
    random = np.random.default_rng(0)
    shared = tuple(random.integers(3, vocabulary, SYSTEM // short).tolist())
    made = []
    for _ in range(count):
        own, answer = (int(random.integers(size // 2, 3 * size // 2)) // short + 1 for size in (OWN, ANSWER))
        tokens = (*shared, *random.integers(3, vocabulary, own + answer).tolist())
        made.append(Row(tokens, (False,) * (len(tokens) - answer) + (True,) * answer))
    return made


def model_of(size: str, lora: bool, bench: Bench) -> LlamaForCausalLM:
    """The same random weights at each call; in float32 where all are trained, computed with in the type of the bench."""
    width, inner, layers, heads, kinds = SHAPES[size]
    config = LlamaConfig(
        vocab_size=VOCABULARY if size != "tiny" else 512,
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kinds,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    return LlamaForCausalLM(config).to(bench.device, bench.dtype if lora else torch.float32)


def ours(size: str, lora: bool, bench: Bench) -> Speed:
    model: Any = model_of(size, lora, bench)
    model.set_attn_implementation(attention.NAME)
    if lora:
        model = adapters.lora(model, RANK, ALPHA, 0.0, seed=0)
    marks: list[float] = []

    def mark(*_: object) -> None:  # the loss was read just before, so the device has caught up
        marks.append(common.time.perf_counter())

    mixed = not lora and bench.dtype == torch.bfloat16
    plan = train.TrainConfig(learning_rate=RATE, epochs=1, batch=BATCH, tokens=bench.tokens, mixed=mixed)
    unchecked = train.Items(check=lambda rows, loaded: None)  # random tokens end nowhere
    with tempfile.TemporaryDirectory() as folder:
        loaded = Loaded(model, None, True, 4096)  # type: ignore[arg-type]
        found = train.run(loaded, bench.rows, plan, Path(folder) / "work", items=unchecked, watch=train.Watch(mark))
    return Speed(common.median([b - a for a, b in pairwise(marks)][1:]), list(found.losses), found.nodes)


class Clock(TrainerCallback):
    def __init__(self) -> None:
        self.marks: list[float] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: dict, **_: Any) -> None:
        if "loss" in logs:
            self.marks.append(common.time.perf_counter())


def theirs(size: str, lora: bool, bench: Bench, attend: str, compiled: bool) -> Speed:
    from peft import LoraConfig, get_peft_model

    model: Any = model_of(size, lora, bench)
    model.set_attn_implementation(attend)
    if lora:
        torch.manual_seed(0)
        config = LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
        model = get_peft_model(model, config)
    order = np.random.default_rng(0).permutation(len(bench.rows))  # as rung's first epoch draws them
    data = [
        {
            "input_ids": list(bench.rows[i].tokens),
            "labels": [t if learnt else -100 for t, learnt in zip(bench.rows[i].tokens, bench.rows[i].targets)],
        }
        for i in order
    ]
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=BATCH,
            num_train_epochs=1,
            learning_rate=RATE,
            lr_scheduler_type="cosine",
            warmup_steps=warmup_steps(bench.steps),
            train_sampling_strategy="sequential",
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            remove_unused_columns=False,
            use_cpu=bench.device == "cpu",
            bf16=not lora and bench.dtype == torch.bfloat16,
            torch_compile=compiled,
        )
        collate = DataCollatorWithFlattening(return_flash_attn_kwargs=attend.startswith("flash"), return_position_ids=True)
        with quiet():
            trainer = Trainer(model, arguments, train_dataset=data, data_collator=collate, callbacks=[clock])
            trainer.remove_callback(PrinterCallback)
            trainer.train()
    found = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return Speed(common.median([b - a for a, b in pairwise(clock.marks)][1:]), found)


def attentions(bench: Bench) -> list[str]:
    """What the other side may attend with: FlashAttention-2 where it is installed, and PyTorch's own."""
    if bench.device == "cpu":
        return ["sdpa"]
    return [*(["flash_attention_2"] if importlib.util.find_spec("flash_attn") else []), "flex_attention", "sdpa"]


def fastest(size: str, lora: bool, bench: Bench, compile_too: bool) -> tuple[str, Speed]:
    """The other side's best settings, each tried and told."""
    tried = {}
    for attend in attentions(bench):
        for compiled in (False, True) if compile_too else (False,):
            name = f"{attend}{', compiled' if compiled else ''}"
            try:
                tried[name] = theirs(size, lora, bench, attend, compiled)
            except torch.OutOfMemoryError:
                print(f"  transformers, {name}: out of memory")
                continue
            finally:
                clean(bench)
            print(f"  transformers, {name}: {bench_tokens(bench) / tried[name].step:,.0f} tokens a second")
    return min(tried.items(), key=lambda item: item[1].step)


def bench_tokens(bench: Bench) -> float:
    """Tokens a step as they stand in the rows."""
    return sum(len(row.tokens) for row in bench.rows) / bench.steps


def clean(bench: Bench) -> None:
    common.gc.collect()
    if bench.device == "cuda":
        torch.cuda.empty_cache()
        torch._dynamo.reset()


def product_flops(bench: Bench) -> float:
    """Operations a second of a large matrix product on this device, in the type that is trained in."""
    device: Any = bench.device
    [speed] = probe.fastest(device, [probe.matrix_work(device, bench.dtype)])
    return speed * 1e9


def compare(size: str, lora: bool, bench: Bench, compile_too: bool) -> float:
    """Train on both sides and print what came of it; rung's speed over the other's."""
    model = model_of(size, lora, bench)
    parameters = sum(p.numel() for p in model.parameters())
    del model
    print(f"{size} ({parameters / 1e6:.0f} M parameters), {'LoRA' if lora else 'all weights'}")
    peak = product_flops(bench)
    mine = ours(size, lora, bench)
    clean(bench)
    name, other = fastest(size, lora, bench, compile_too)
    flops = (4 if lora else 6) * parameters * bench_tokens(bench)
    computed = mine.computed / bench.steps / bench_tokens(bench)
    apart = max(abs(a - b) / abs(b) for a, b in zip(mine.losses, other.losses, strict=True))
    print(
        f"  rung: {bench_tokens(bench) / mine.step:,.0f} tokens a second, {100 * computed:.0f} % of them computed; "
        f"model FLOP utilisation {flops / mine.step / peak:.2f}, of what is computed {computed * flops / mine.step / peak:.2f}; "
        f"transformers ({name}) {flops / other.step / peak:.2f}; measured product {peak / 1e12:.1f} TFLOP/s; "
        f"losses at most {apart:.1e} apart"
    )
    return other.step / mine.step


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the smallest shape and fewer steps")
    parser.add_argument("--cpu", action="store_true", help="no measurement: both sides run on the processor, in float32")
    parser.add_argument("--tiny", action="store_true", help="no measurement: a model of some thousand parameters, uncompiled")
    args = parser.parse_args()
    if not (args.cpu or torch.cuda.is_available()):
        print("gpu.py measures a GPU, and torch sees none here. Nothing was measured.", file=sys.stderr)
        return 2
    device, dtype = ("cpu", torch.float32) if args.cpu else ("cuda", torch.bfloat16)
    steps = 4 if args.tiny else 12 if args.quick else 40
    vocabulary, short = (512, 16) if args.tiny else (VOCABULARY, 1)
    bench = Bench(device, dtype, rows_of(vocabulary, BATCH * steps, short), steps, 8192)
    where = torch.cuda.get_device_name() if device == "cuda" else "the processor"
    print(f"{where}; {BATCH} rows a step, {bench_tokens(bench) / BATCH:.0f} tokens a row, {steps} steps, {dtype}")
    sizes = ["tiny"] if args.tiny else ["0.1B"] if args.quick else ["0.1B", "0.4B", "1B"]
    runs: list[tuple[str, bool]] = [(size, lora) for size in sizes for lora in (True, False)]
    found = {f"{size} {'LoRA' if lora else 'full'}": compare(size, lora, bench, not args.tiny) for size, lora in runs}
    print(", ".join(f"{name} {ratio:.2f}" for name, ratio in found.items()))
    print(f"ratio={min(found.values()):.2f} tokens a second, rung over the Trainer's best, the least of {len(found)} runs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
