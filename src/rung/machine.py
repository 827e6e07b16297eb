"""A machine as estimates see it: its speeds, and the seconds and dollars that work on it takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

Device = Literal["cpu", "cuda", "mps"]

PREFILL_EFFICIENCY = 0.75
"""Share of the measured matrix-product speed reached in prefill, without attention; measured on SmolLM2-135M."""
ATTENTION_COST = 0.7
"""Time of attention over that of the weights' products on a CPU, when a token attends to as many tokens as the model is wide."""
MODEL_OPEN_SECONDS = 3.0
"""Approximate time to import and open an embedding model of any size: most of a small fit."""

DECODE_STEP_SECONDS = 0.03
"""Approximate fixed overhead of a decoding step: Python and hundreds of small operations."""
EFFICIENCY = 0.5
"""Share of the measured matrix-product speed reached by a whole training step, or by the products of a decoding step.

Attention, normalisation, small matrices, Python and the optimizer take the rest. Large published runs reach 0.2 to 0.5
of the theoretical peak (PaLM, https://arxiv.org/abs/2204.02311, section 4.1); the measured speed used
here is below that peak. An estimate is a forecast; the measured cost is shown beside it.
"""

ROUNDED_SHARE = 0.7
"""Share of the time of prefill in float32 that frozen layers take: answers of LoRA take 0.55 of it where a layer in bfloat16 is
2.8 times as fast, measured on SmolLM2-135M."""

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine for cost estimates. Speeds are measured; everything derived is a forecast."""

    name: str
    cores: int
    """Logical processors this process may use (affinity and cgroup respected)."""
    threads: int
    """Physical cores among them: the fastest thread count for matrix products."""
    memory_bytes: int
    """Memory of the device with the model: the GPU, or the machine (cgroup limit respected)."""
    device: Device
    device_name: str
    gflops: Mapping[str, float]
    """Matrix-product speed by data type, 10^9 floating-point operations per second."""
    bandwidth_gbs: float
    """Read speed of weights in a matrix-vector product, 10^9 bytes per second."""
    dtype: str
    """The data type to compute in, chosen from `gflops`, never from a default."""
    onednn: bool = False
    """Whether oneDNN (`rung.lm.models.onednn_linear`) is faster for float32 products than PyTorch's choice; `gflops` has the
    faster speed."""
    bf16_speedup: float = 1.0
    """How many times as fast as in float32 a frozen layer is computed in bfloat16, casts included
    (`rung.lm.models.frozen_linear`); 1 on a GPU, and on a CPU that gains too little."""
    frozen_bf16: bool = False
    """Whether fits store and multiply frozen weights in bfloat16 on this CPU, and compute all else in float32: the task's
    precision says so (`freezing`), not a measurement alone."""
    usd_per_hour: float = 0.0

    @property
    def multiplies_bf16(self) -> bool:
        """Whether this CPU has hardware support for bfloat16 (AVX512-BF16, AMX), by its speed: an emulated product takes about 70
        times as long as one in float32."""
        return self.device == "cpu" and (self.bf16_speedup > 1 or 2 * self.gflops.get("bfloat16", 0.0) >= self.gflops["float32"])

    def freezing(self, bf16: bool) -> Machine:
        """This machine, with frozen weights in bfloat16 if they are asked for and it multiplies them."""
        return replace(self, frozen_bf16=bf16 and self.multiplies_bf16)

    def rounded(self) -> Machine:
        """This machine for answers with frozen layers in bfloat16: with a speed of products that they reach."""
        gain = 1 / (1 - ROUNDED_SHARE + ROUNDED_SHARE / self.bf16_speedup)
        return replace(self, gflops={**self.gflops, self.dtype: gain * self.gflops[self.dtype]})

    def fastest(self, other: Machine) -> Machine:
        """The higher speeds of two measurements of one machine, for a time at which other programs slow both."""
        faster = self if self.gflops["float32"] >= other.gflops["float32"] else other
        return replace(
            faster,
            gflops={name: max(speed, other.gflops.get(name, 0.0)) for name, speed in self.gflops.items()},
            bandwidth_gbs=max(self.bandwidth_gbs, other.bandwidth_gbs),
            bf16_speedup=max(self.bf16_speedup, other.bf16_speedup),
        )

    def _seconds(self, flops: float, efficiency: float = EFFICIENCY) -> float:
        return flops / (self.gflops[self.dtype] * 1e9 * efficiency)

    def training_seconds(
        self, parameters: int, trainable_share: float, tokens: int, epochs: float = 1, *, frozen: bool = False
    ) -> float:
        """Wall-clock seconds to train on `tokens` (those computed, after sharing and padding) `epochs` times.

        2 operations a parameter and token forward, 2 backward for the activations, and 2 more for the weights that
        are trained (https://arxiv.org/abs/2001.08361, section 2.1): an adapter costs about two thirds of full training.
        `frozen`: whether the other weights are multiplied in bfloat16 where the machine has `frozen_bf16`.
        """
        gain = self.bf16_speedup if frozen and self.frozen_bf16 else 1.0
        products = EFFICIENCY / gain  # the rest of a step gets no faster
        return self._seconds(parameters * (4 + 2 * trainable_share) * tokens * epochs) * (1 - EFFICIENCY + products)

    def prefill_seconds(self, parameters: int, tokens: float, behind: float = 0.0) -> float:
        """Seconds to prefill (or score) `tokens`: 2 operations per parameter and token, plus attention.

        `behind`: mean number of tokens that each attends to. When it equals the model's width, attention takes 4 operations where
        the weights take 24 (times width squared, per layer); on a CPU it runs more slowly.
        """
        attending = (ATTENTION_COST if self.device == "cpu" else 1 / 6) * behind / width(parameters)
        return self._seconds(2 * parameters * tokens * (1 + attending), PREFILL_EFFICIENCY)

    def decode_seconds(self, parameters: int, tokens: int, batch: int = 1) -> float:
        """Seconds to generate `batch` answers of `tokens` each in parallel.

        Each step reads all weights once and computes for every answer; the two rarely overlap, so they are added. A `batch` of
        0 omits the computation.
        """
        reading = parameters * BYTES[self.dtype] / (self.bandwidth_gbs * 1e9)
        return tokens * (DECODE_STEP_SECONDS + reading + self._seconds(2 * parameters * batch))

    def usd(self, seconds: float) -> float:
        """Cost of `seconds` of this machine in US dollars."""
        return seconds / 3600 * self.usd_per_hour


def frozen_bytes(parameters: int, vocabulary: int) -> float:
    """Bytes per weight with frozen layers in bfloat16: 2, and 4 for those of embeddings and output head (`vocabulary`)."""
    return 2 + 2 * min(1.0, vocabulary / max(1, parameters))


def width(parameters: int) -> float:
    """Approximate width of a model by parameters: 580 for SmolLM2-135M's 576, 1,760 for Llama 3.2 1B's 2,048."""
    return 0.05 * max(1, parameters) ** 0.5
