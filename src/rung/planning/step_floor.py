"""The least time of training on GPUs, however small its steps: launching kernels, and waiting for each other's gradients."""

from __future__ import annotations

import math
from typing import Any

from rung.methods.base import Method
from rung.methods.facts import Facts
from rung.types import Need

LAYERS = 32
"""About those of a model of 0.1 to 10 billion parameters: SmolLM2-135M has 30, Llama 3.1 8B 32."""
LAUNCHES = 160
"""Operations of a layer in a pass forward and backward: 183 with LoRA and 132 where all weights are trained, counted without
views (`tests/planning/test_step_floor.py` counts them)."""
LAUNCH_SECONDS = 5e-6
"""Of the processor for one operation of PyTorch, the low end of 5 to 25 microseconds:
https://jiahuanglin.xyz/all_lessons/gpu_kernel_serving/18_pytorch_to_kernel.html"""
PASS_SECONDS = LAYERS * LAUNCHES * LAUNCH_SECONDS
PER_MACHINE = 8
"""GPUs of a machine."""
BASE, NVLINK, BETWEEN, NETWORK = 4.4e-6, 0.52e-6, 1.8, 5.0e-6
"""Latencies by which NCCL chooses how to reduce (tree, LL): of a call, of a step inside a machine, that step's factor where there
are several machines, and of a step between them. https://github.com/NVIDIA/nccl/blob/01afd20/src/graph/tuning.cc"""


def floor_seconds(method: Method, facts: Facts, gpus: int) -> float:
    """Seconds that a method's training takes at least on so many GPUs that share its steps."""
    steps, tokens = _steps(method, facts)
    passes = max(1, math.ceil(tokens / gpus / getattr(method, "tokens", tokens or 1)))
    return steps * (passes * PASS_SECONDS + (all_reduce_seconds(gpus) if gpus > 1 else 0.0))


def all_reduce_seconds(gpus: int) -> float:
    """Latency of a reduction over so many GPUs, whatever its size."""
    machines = math.ceil(gpus / PER_MACHINE)
    inside = NVLINK * (BETWEEN if machines > 1 else 1.0)
    return BASE + 2 * ((gpus / machines - 1) * inside + math.floor(math.log2(machines)) * NETWORK)


def _steps(method: Any, facts: Facts) -> tuple[int, float]:
    """Steps of a training, and tokens of each."""
    pairs = Need.PREFERENCES in method.needs
    items, own = (facts.pairs, facts.pair_tokens) if pairs else (facts.train_rows, facts.input_tokens + facts.output_tokens)
    epochs, batch = getattr(method, "epochs", 1), getattr(method, "batch", 1)
    if size := getattr(method, "step", 0):
        return math.ceil(epochs * facts.corpus_tokens / size), size
    if steps := getattr(method, "steps", 0):
        each = getattr(method, "context", 0) or own * getattr(method, "samples", 1)
        return steps * getattr(method, "updates", 1), batch * each
    return epochs * math.ceil(items / batch), batch * own + facts.shared_tokens
