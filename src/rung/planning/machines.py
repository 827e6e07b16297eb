"""Other machines for estimates: GPUs by published peak performance and an assumed achievable share."""

from __future__ import annotations

from dataclasses import dataclass

from rung.errors import RungError
from rung.machine import Machine
from rung.machine_prices import list_price, user_prices

PEAK_SHARE = 0.7
"""Assumed share of the peak that large matrix products reach, which is what is measured on a local machine. Together with
`machine.EFFICIENCY`, training is estimated at 0.35 of the peak, within the 0.2 to 0.5 of published runs
(https://arxiv.org/abs/2204.02311, section 4.1)."""
BANDWIDTH_SHARE = 0.8
"""Assumed share of peak memory bandwidth that reading weights reaches."""
SCALING_EFFICIENCY = 0.9
"""Assumed speed gain of each further GPU, after communication."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A GPU by its data sheet: dense 16-bit tensor operations, without sparsity."""

    title: str
    tflops: float
    """10^12 floating-point operations a second."""
    bandwidth_gbs: float
    memory_gb: float
    float8: float = 0.0
    """The same in 8-bit floating point; 0 where it has none. rung does not train in it; torchtitan and Megatron can."""
    float32: float = 0.0
    """The same in 32 bit, outside tensor cores."""
    dtype: str = "bfloat16"


AS_OF = "2026-11-30"
"""When the figures were last looked up. Operations, memory and bandwidth are those of the vendors' data sheets."""
PRICE_SOURCES = {
    "https://www.mercatus-ai.com/blog/cloud-gpu-pricing": "May 2026: A100, H100, H200",
    "https://aimultiple.com/gpu-index": "20 May 2026: the median of 37 providers of an H100 is $2.95",
}
"""Where `rung.machine_prices.USD_PER_GPU_HOUR` was compared; kinds that are in neither are rounded from single list prices."""


KINDS: dict[str, Kind] = {
    "b200": Kind("NVIDIA B200", 2250, 8000, 180, 4500, 75),
    "h200": Kind("NVIDIA H200 SXM", 989, 4800, 141, 1979, 67),
    "h100": Kind("NVIDIA H100 SXM", 989, 3350, 80, 1979, 67),
    "mi300x": Kind("AMD MI300X", 1307, 5300, 192, 2615, 163),
    "a100": Kind("NVIDIA A100 SXM 80GB", 312, 2039, 80, 0, 19.5),
    "l40s": Kind("NVIDIA L40S", 362, 864, 48, 733, 92),
    "l4": Kind("NVIDIA L4", 121, 300, 24, 242, 30),
    "a10": Kind("NVIDIA A10", 125, 600, 24, 0, 31),
    "t4": Kind("NVIDIA T4", 65, 320, 16, 0, 8, "float16"),
    "v100": Kind("NVIDIA V100 SXM", 125, 900, 32, 0, 16, "float16"),
    "rtx4090": Kind("NVIDIA RTX 4090", 165, 1008, 24, 330, 83),
    "rtx3090": Kind("NVIDIA RTX 3090", 71, 936, 24, 0, 36),
}


def by_name(name: str) -> Machine:
    """A machine by name, such as `h100` or `h100x8`; its name states that it is not measured.

    RungError for an unknown kind. Prices: the user's prices.yaml, else the table in `rung.machine_prices`.
    """
    kind, count = parsed(name)
    gpu = KINDS[kind]
    title = gpu.title if count == 1 else f"{count} x {gpu.title}"
    speed = 1 + SCALING_EFFICIENCY * (count - 1)
    price = user_prices().get(kind, list_price("cuda", gpu.title, 0))
    return Machine(
        name=f"{title} (peak figures on paper, {PEAK_SHARE:.0%} assumed)",
        cores=0,
        threads=0,
        memory_bytes=round(gpu.memory_gb * 1e9),  # each holds all weights
        device="cuda",
        device_name=title,
        gflops={gpu.dtype: 1000 * gpu.tflops * PEAK_SHARE * speed},
        bandwidth_gbs=gpu.bandwidth_gbs * BANDWIDTH_SHARE * speed,
        dtype=gpu.dtype,
        usd_per_hour=price * count,
    )


def parsed(name: str) -> tuple[str, int]:
    """The kind of GPU and how many: h100x8 means eight h100; rtx4090 is a kind of its own. RungError for an unknown kind."""
    asked = name.strip().lower()
    kind, _, count = asked.rpartition("x")
    if asked in KINDS:
        return asked, 1
    if kind in KINDS and count.isdecimal() and int(count) > 0:
        return kind, int(count)
    raise RungError(
        f"unknown machine {name!r}.", where="--machine", remedy=f"Known: {', '.join(KINDS)}; several of one kind as h100x8."
    )
