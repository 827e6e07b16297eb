"""The least time of training on GPUs, however small its steps: launching kernels, and waiting for each other's gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rung.errors import ModelError
from rung.lm.models import llama_shape
from rung.methods.base import Method
from rung.methods.continued import Continued
from rung.methods.facts import Facts
from rung.methods.grpo import Grpo
from rung.methods.multiprocess import TRAINS
from rung.methods.pretrain import Pretrain
from rung.methods.tuning import HELD
from rung.types import Need

LAUNCHES = 100
"""Operations of a layer in a pass forward and backward, at the least: 101 in pre-training. With the optimizer it is 135 where all
weights are trained on rows, and 192 with LoRA, counted without views (`tests/planning/test_step_floor.py` counts them)."""
LAUNCH_SECONDS = 5e-6
"""Of the processor for one operation of PyTorch, the low end of 5 to 25 microseconds:
https://jiahuanglin.xyz/all_lessons/gpu_kernel_serving/18_pytorch_to_kernel.html"""
PER_MACHINE = 8
"""GPUs of a machine."""
BASE, NVLINK, BETWEEN, NETWORK = 4.4e-6, 0.52e-6, 1.8, 5.0e-6
"""Latencies by which NCCL chooses how to reduce (tree, LL): of a call, of a step inside a machine, that step's factor where there
are several machines, and of a step between them. https://github.com/NVIDIA/nccl/blob/01afd20/src/graph/tuning.cc"""


def floor_seconds(methods: Sequence[Method], facts: Facts, gpus: int) -> float:
    """Seconds that a rung's trainings take at least on so many GPUs that share their steps."""
    seconds, layers = 0.0, max(1, facts.layers)
    for method in methods:
        if isinstance(method, Pretrain):
            layers = _own_layers(method)
        if method.family in TRAINS:
            steps, tokens = _steps(method, facts)
            passes = max(1, math.ceil(tokens / gpus / getattr(method, "tokens", tokens or 1)))
            seconds += steps * (passes * pass_seconds(layers) + (all_reduce_seconds(gpus) if gpus > 1 else 0.0))
    return seconds


def pass_seconds(layers: int) -> float:
    """Seconds that the launches of one pass forward and backward take."""
    return layers * LAUNCHES * LAUNCH_SECONDS


def _own_layers(method: Pretrain) -> int:
    """Layers of the model that is made; 1 where they depend on a vocabulary that proves to be smaller than the option."""
    try:
        return llama_shape.shape(method.parameters, method.vocabulary).layers
    except ModelError:
        return 1


def all_reduce_seconds(gpus: int) -> float:
    """Latency of a reduction over so many GPUs, whatever its size."""
    machines = math.ceil(gpus / PER_MACHINE)
    inside = NVLINK * (BETWEEN if machines > 1 else 1.0)
    return BASE + 2 * ((gpus / machines - 1) * inside + math.floor(math.log2(machines)) * NETWORK)


def _steps(method: Any, facts: Facts) -> tuple[int, float]:
    """Steps of a training, and tokens of each."""
    match method:
        case Continued():
            return math.ceil(method.epochs * method.read_tokens(facts) / method.step), method.step
        case Pretrain():
            return method.steps, method.batch * method.context
        case Grpo():
            group = facts.input_tokens + method.samples * facts.output_tokens
            return method.steps * method.updates, method.batch * group + facts.shared_tokens
    pairs = Need.PREFERENCES in method.needs
    items, own = (facts.pairs, facts.pair_tokens) if pairs else (facts.train_rows, facts.input_tokens + facts.output_tokens)
    learnt = int(items * (1 - getattr(method, "held", 0.0)) * (1 - HELD if method.patience else 1))
    return method.epochs * math.ceil(learnt / method.batch), method.batch * own + facts.shared_tokens
