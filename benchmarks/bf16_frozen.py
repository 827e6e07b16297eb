"""Frozen layers in bfloat16 against float32: a LoRA step's gradient and speed, answers, scores of two tasks, memory.

The default model, both sides in one run. bfloat16 is forced here, faster or not; the first lines say what was measured. A machine
without hardware support for bfloat16 (AVX512-BF16, AMX) would take minutes a step: there the gradient, the answers and the tasks
are computed in float32 with rows, weights and results rounded as that hardware rounds them, and only the seconds of a step, of
fewer rows, are those of PyTorch's own emulation, where it has one. Untrained answers are greedy, 24 tokens behind eight
demonstrations. The tasks are trained with LoRA's defaults from the same seed, and each answers with the weights it was trained
beside. Last line: seconds of a step in float32 over those in bfloat16.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import common
import torch
from lora_step import BATCH, fresh, rows_of
from stopping import rows as task_rows
from torch.nn.functional import linear
from writing import MOST, prompts

from rung.lm import probe
from rung.lm.base import Decoding
from rung.lm.engines import Engines
from rung.lm.inference.causal import CausalEngine
from rung.lm.models import frozen_linear
from rung.lm.models.load import load
from rung.lm.training.losses import sft, weight
from rung.lm.trees.tree import Row
from rung.machine import Machine
from rung.methods.base import Run
from rung.methods.lora import Lora
from rung.metrics import METRICS
from rung.metrics.resample import paired_bootstrap
from rung.predictor import Predictor
from rung.types import TrainData

TASKS = ("xquad_sentence", "banking77")


def gradient(model, rows: list[Row]) -> torch.Tensor:
    """Of the adapters on these rows, both factors set to small random numbers: B begins at zero, where A has no gradient."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for one in model.parameters():
            if one.requires_grad:
                one.copy_(torch.randn(one.shape, generator=generator) * 0.02)
    (sft(model, rows, True) / weight(rows)).backward()
    return torch.cat([one.grad.flatten() for one in model.parameters() if one.requires_grad])


def rounded_product(rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """What hardware for bfloat16 computes, up to the order of its float32 sums, on a machine without it."""
    out = linear(rows.to(torch.bfloat16).float(), weight.float()).to(torch.bfloat16).to(rows.dtype)
    return out if bias is None else out.add_(bias)


def compare_gradients(exact: Machine, rounded: Machine, size: int) -> None:
    """Also the memory of the frozen weights."""
    loaded, first = fresh(exact)
    models = [first, fresh(rounded, rounds=True)[1]]
    batch = rows_of(loaded.chat, size)
    bytes_of = [sum(one.untyped_storage().nbytes() for one in model.parameters() if not one.requires_grad) for model in models]
    print(f"frozen weights: {bytes_of[0] / 2**20:.0f} MiB in float32, {bytes_of[1] / 2**20:.0f} with bfloat16 layers")
    a, b = (gradient(model, batch).double() for model in models)  # float32 sums of millions of squares are off
    cosine, error = float(torch.cosine_similarity(a, b, 0)), float((a - b).norm() / a.norm())
    print(f"gradient of the adapters, {size} rows: cosine {cosine:.5f}, relative difference {error:.4f}", flush=True)


def compare_steps(exact: Machine, rounded: Machine, size: int, rounds: int) -> float:
    """Prints the seconds of a step; returns their ratio."""
    loaded, first = fresh(exact)
    models = [first, fresh(rounded, rounds=True)[1]]
    batch = rows_of(loaded.chat, size)
    wall: list[list[float]] = [[], []]
    cpu: list[list[float]] = [[], []]
    for k in range(rounds):
        for i in (0, 1) if k % 2 else (1, 0):
            began = common.time.process_time()
            wall[i].append(common.timed(lambda i=i: (sft(models[i], batch, True) / weight(batch)).backward()))
            cpu[i].append(common.time.process_time() - began)
    ratios = [common.median([x / y for x, y in zip(*one)]) for one in (wall, cpu)]
    for name, one in (("float32", 0), ("bfloat16", 1)):
        print(f"a step of {size} rows, {name}: {common.median(wall[one]):.2f} s, {common.median(cpu[one]):.2f} CPU-s")
    print(f"float32 over bfloat16: {ratios[0]:.2f} by the clock, {ratios[1]:.2f} by CPU-seconds, n={rounds}", flush=True)
    return ratios[0]


def compare_answers(exact: Machine, count: int) -> None:
    asked, found = prompts(count), []
    for name, frozen in (("float32", ""), ("bfloat16", "base")):
        engine = CausalEngine(load(common.base_folder(), exact, frozen=frozen))
        began = common.time.perf_counter()
        found.append([one.text for one in engine.generate(asked, Decoding(max_new_tokens=MOST))])
        print(f"{count} answers of the untrained base, {name}: {common.time.perf_counter() - began:.1f} s")
    print(f"the same answers: {sum(a == b for a, b in zip(*found))} of {count}", flush=True)


def compare_scores(name: str, exact: Machine, rounded: Machine, train: int, test: int) -> None:
    source, learn, check = task_rows(name, train, test)
    labels = tuple(sorted({row.output for row in learn + check})) if source.kind == "classify" else ()
    found = []
    for machine in (exact, rounded):
        engines = Engines(machine, say=lambda text: None)
        model = engines.reference("smollm2-135m-instruct")
        given = {"kind": source.kind, "model": model, "instruction": source.task, "decoding": Decoding(max_new_tokens=32)}
        start = Predictor(labels=labels, descriptions=("",) * len(labels), **given)
        with tempfile.TemporaryDirectory() as folder:
            run = Run(Path(folder), engines)
            began = common.time.process_time()
            fitted = Lora().fit(start, TrainData(tuple(learn), labels), run)
            took = common.time.process_time() - began
            answers = fitted.predict(check, engines)
        losses = run.notes["losses"]
        print(f"{name}, {fitted.model.precision or 'float32'}: {len(losses)} steps, last loss {losses[-1]:.3f}, {took:.0f} CPU-s")
        found.append([METRICS[source.metric].rate(one.output, row) for one, row in zip(answers, check)])
    means = [sum(scores) / len(scores) for scores in found]
    both = f"{means[0]:.3f} in float32, {means[1]:.3f} in bfloat16"
    print(f"{name}, {len(learn)} rows: {source.metric} {both}, paired {paired_bootstrap(*found)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rows; under ten minutes on two cores")
    parser.add_argument("--parts", default="gradients,answers,scores,steps", help="joined by commas")
    parser.add_argument("--rows", type=int, default=BATCH, help="of the step whose gradient is compared")
    args = parser.parse_args()
    found, _ = probe.measure()
    hardware = found.gflops.get("bfloat16", 0) > found.gflops["float32"]
    print(f"machine: {found.name}; " + ", ".join(f"{speed:.0f} GFLOP/s in {name}" for name, speed in found.gflops.items()))
    faster = f"bfloat16, a layer {found.bf16_speedup:.2f} times as fast"
    print(f"taken here with precision auto: {faster if found.bf16_speedup > 1 else 'float32'}")
    product = frozen_linear.product
    if not hardware:
        print("no hardware support for bfloat16: it is rounded in float32, and emulated for the seconds of a step alone")
        frozen_linear.product = rounded_product
    exact, rounded = found, replace(found, frozen_bf16=True, bf16_speedup=max(found.bf16_speedup, 1.01))
    train, test = (96 if hardware else 48, 100) if args.quick else (200, 200)
    if "gradients" in args.parts:
        compare_gradients(exact, rounded, args.rows)
    if "answers" in args.parts:
        compare_answers(exact, 48)
    if "scores" in args.parts:
        for name in TASKS:
            compare_scores(name, exact, rounded, train, test)
    frozen_linear.product = product
    if "steps" in args.parts and not frozen_linear.has_product():
        print("the seconds of a step are left out: this build of PyTorch has no bfloat16 product on this CPU")
    elif "steps" in args.parts:
        ratio = compare_steps(exact, rounded, *((BATCH, 6 if args.quick else 16) if hardware else (4, 2)))
        print(f"ratio={ratio:.2f} seconds of a LoRA step in float32 over those with frozen layers in bfloat16")


if __name__ == "__main__":
    main()
