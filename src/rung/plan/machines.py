"""Machines that are not here, for quotes: GPU kinds by their public peak figures, with an assumed share of the peak."""

from __future__ import annotations

from dataclasses import dataclass

from rung.errors import RungError
from rung.machine import Machine, list_price, own_prices

REACHED = 0.7
"""Assumed share of the peak on paper that large matrix products reach. What is measured here is such products, so the
named machines are put on the same footing; with `machine.EFFICIENCY` on top, training is quoted at 0.35 of the peak, within
the 0.2 to 0.5 of published runs (https://arxiv.org/abs/2204.02311, section 4.1)."""
READ = 0.8
"""Assumed share of the memory bandwidth on paper that reading weights reaches."""
JOINED = 0.9
"""Assumed share of the added speed that each further GPU brings, communication taken off."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One GPU, figures of the maker's data sheet: dense tensor operations in 16 bit, without sparsity."""

    title: str
    tflops: float
    """10^12 floating-point operations a second."""
    bandwidth_gbs: float
    memory_gb: float
    dtype: str = "bfloat16"


KINDS: dict[str, Kind] = {
    "b200": Kind("NVIDIA B200", 2250, 8000, 180),
    "h200": Kind("NVIDIA H200 SXM", 989, 4800, 141),
    "h100": Kind("NVIDIA H100 SXM", 989, 3350, 80),
    "mi300x": Kind("AMD MI300X", 1307, 5300, 192),
    "a100": Kind("NVIDIA A100 SXM 80GB", 312, 2039, 80),
    "l40s": Kind("NVIDIA L40S", 362, 864, 48),
    "l4": Kind("NVIDIA L4", 121, 300, 24),
    "a10": Kind("NVIDIA A10", 125, 600, 24),
    "t4": Kind("NVIDIA T4", 65, 320, 16, "float16"),
    "v100": Kind("NVIDIA V100 SXM", 125, 900, 32, "float16"),
    "rtx4090": Kind("NVIDIA RTX 4090", 165, 1008, 24),
    "rtx3090": Kind("NVIDIA RTX 3090", 71, 936, 24),
}


def named(name: str) -> Machine:
    """A machine by name, such as `h100` or `h100x8`: not measured, and its name says so.

    RungError where the kind is not known. Prices: the user's prices.yaml, else the dated table of `rung.machine`.
    """
    kind, count = _parsed(name)
    gpu = KINDS[kind]
    title = gpu.title if count == 1 else f"{count} x {gpu.title}"
    speed = 1 + JOINED * (count - 1)
    price = own_prices().get(kind, list_price("cuda", gpu.title, 0))
    return Machine(
        name=f"{title} (peak figures on paper, {REACHED:.0%} assumed)",
        cores=0,
        threads=0,
        memory_bytes=round(gpu.memory_gb * 1e9) * count,
        device="cuda",
        device_name=title,
        gflops={gpu.dtype: 1000 * gpu.tflops * REACHED * speed},
        bandwidth_gbs=gpu.bandwidth_gbs * READ * speed,
        dtype=gpu.dtype,
        usd_per_hour=price * count,
    )


def _parsed(name: str) -> tuple[str, int]:
    """h100x8 is eight of h100; rtx4090 is no 4090 of rt."""
    asked = name.strip().lower()
    kind, _, count = asked.rpartition("x")
    if asked in KINDS:
        return asked, 1
    if kind in KINDS and count.isdecimal() and int(count) > 0:
        return kind, int(count)
    raise RungError(f"there is no machine {name!r}.", where="--machine", remedy=f"Known: {', '.join(KINDS)}; several as h100x8.")
