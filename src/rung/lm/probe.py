"""Measures this machine: matrix-product speed by data type, memory bandwidth, memory size (up to 3 s)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.functional import linear

from rung.contention import watch_others
from rung.hardware import cpu_name, usable_cores, usable_memory, usable_threads
from rung.lm.models import frozen_linear, onednn_linear
from rung.machine import Device, Machine

Work = tuple[float, Callable[[], Any]]
"""10^9 operations or bytes, and the call that processes them."""

WINDOW_SECONDS = 0.08
"""Length of one window. The best run in it counts: other load can only slow a run down."""

ROUNDS = 4
"""Windows per measurement. Measurements take turns, so that a burst of other load spoils one window of each."""

SIZES = {"cpu": 1024, "cuda": 8192, "mps": 4096}
"""Edge of the square matrices: large enough that call overhead does not matter."""

SMALL_SIZE = 256
"""Edge of a first, cheap product for types that a CPU may not support in hardware (bf16 then runs about 70 times slower
than float32). If it is that slow, the large product is skipped: it would take seconds."""

VECTOR_BYTES = {"cpu": 2**28, "cuda": 2**30, "mps": 2**29}
"""Size of the matrix in the bandwidth measurement: well over any cache."""

BF16_MIN_SPEEDUP = 1.2
"""An accelerator uses bf16 if it measures at least this many times the speed of float32; below that the lost precision buys
nothing."""

FROZEN_MIN_SPEEDUP = 1.15
"""A CPU computes frozen layers in bfloat16 if a layer, forward and backward, casts included, measures at least this many times
the speed of the float32 product in use."""

LAYER = (1024, 576, 1536)
"""Rows, inputs and outputs of that layer: the widest of the default base, in a training step. In wider ones casts cost less."""

ONEDNN_MIN_SPEEDUP = 1.02
"""oneDNN is used if it measures at least this many times the speed of PyTorch's own choice."""


def measure() -> tuple[Machine, float]:
    """This machine, measured now, and the share of its CPU time, 0 to 1, that other programs took meanwhile.

    `usd_per_hour` stays 0: the caller sets prices.
    """
    device, threads = find_device(), usable_threads()
    with watch_others() as others, with_threads(threads):
        works = {_dtype_name(dtype): matrix_work(device, dtype) for dtype in _dtypes(device)}
        works["reading"] = reading_work(device)
        if device == "cpu" and onednn_linear.has_onednn():
            works["oneDNN"] = matrix_work(device, torch.float32, onednn_linear.onednn)
        speeds = dict(zip(works, fastest(device, list(works.values())), strict=True))
        bandwidth, by_onednn = speeds.pop("reading"), speeds.pop("oneDNN", 0.0)
        onednn = by_onednn >= ONEDNN_MIN_SPEEDUP * speeds["float32"]
        gflops = speeds | {"float32": by_onednn if onednn else speeds["float32"]}
        speedup = frozen_speedup(gflops, onednn_linear.onednn if onednn else linear) if device == "cpu" else 1.0
        share = others()
    name = torch.cuda.get_device_name() if device == "cuda" else cpu_name()
    machine = Machine(
        name=name if device == "cuda" else f"{name}, {threads} threads",
        cores=usable_cores(),
        threads=threads,
        memory_bytes=memory(device),
        device=device,
        device_name=name,
        gflops=gflops,
        bandwidth_gbs=bandwidth,
        dtype=choose_dtype(device, gflops),
        onednn=onednn,
        bf16_speedup=speedup,
    )
    return machine, share


def find_device() -> Device:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def choose_dtype(device: Device, gflops: dict[str, float]) -> str:
    """float32 on a CPU, always, for all that is trained or added: only frozen layers may be bf16 (`frozen_speedup`).
    bf16 on an accelerator that measures it faster. Never float16: it needs loss scaling."""
    if device == "cpu":
        return "float32"
    return "bfloat16" if gflops.get("bfloat16", 0) >= BF16_MIN_SPEEDUP * gflops["float32"] else "float32"


def frozen_speedup(gflops: dict[str, float], by: onednn_linear.Product) -> float:
    """How many times as fast a frozen layer is in bf16 as by the float32 product `by`; 1 if that is too little to use it.

    Measured only where bf16 products are faster in themselves: elsewhere a layer would take a second.
    """
    if gflops.get("bfloat16", 0) <= gflops["float32"]:
        return 1.0
    exact, rounded = fastest("cpu", [layer_work(torch.float32, by), layer_work(torch.bfloat16, frozen_linear.product)])
    return rounded / exact if rounded >= FROZEN_MIN_SPEEDUP * exact else 1.0


def layer_work(dtype: torch.dtype, by: onednn_linear.Product) -> Work:
    """A layer's product and the gradient of its rows; rows are float32, weights of the data type."""
    rows, inputs, outputs = LAYER
    weight = torch.randn(outputs, inputs).to(dtype)
    forward, backward = torch.randn(rows, inputs), torch.randn(rows, outputs)
    return 4 * rows * inputs * outputs / 1e9, lambda: (by(forward, weight, None), by(backward, weight.t(), None))


def matrix_work(device: Device, dtype: torch.dtype, by: onednn_linear.Product = linear) -> Work:
    """A square matrix product, as a linear layer computes it."""

    def product(size: int) -> Work:
        a = torch.randn(size, size, device=device).to(dtype)
        b = torch.randn(size, size, device=device).to(dtype)
        return 2 * size**3 / 1e9, lambda: by(a, b, None)

    size = SIZES[device]
    if device == "cpu" and dtype != torch.float32:
        small = product(SMALL_SIZE)
        if _window(device, small[1]) * (size / SMALL_SIZE) ** 3 > 4 * WINDOW_SECONDS:
            return small
    return product(size)


def reading_work(device: Device) -> Work:
    """A matrix-vector product, which reads weights as decoding does."""
    size = VECTOR_BYTES[device]
    matrix = torch.ones(size // 4 // 4096, 4096, device=device)
    vector = torch.ones(4096, device=device)
    return size / 1e9, lambda: matrix @ vector


def fastest(device: Device, works: Sequence[Work]) -> list[float]:
    """The speed of each piece of work, 10^9 per second, in its fastest run over several short windows."""
    best = [math.inf] * len(works)
    for _ in range(ROUNDS):
        for i, (_, call) in enumerate(works):
            best[i] = min(best[i], _window(device, call))
    return [amount / seconds for (amount, _), seconds in zip(works, best, strict=True)]


def memory(device: Device) -> int:
    """Bytes of memory available to the model."""
    if device == "cuda":
        return int(torch.cuda.mem_get_info()[1])
    if device == "mps":
        return int(torch.mps.recommended_max_memory())
    return usable_memory()


def _dtypes(device: Device) -> tuple[torch.dtype, ...]:
    if device == "cpu":
        return (torch.float32, torch.bfloat16) if frozen_linear.has_product() else (torch.float32,)
    return (torch.float32, torch.bfloat16, torch.float16)


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _window(device: Device, call: Callable[[], Any]) -> float:
    """Seconds of the fastest run in one window."""
    times, end = [_timed(device, call)], time.perf_counter() + WINDOW_SECONDS
    while time.perf_counter() < end:
        times.append(_timed(device, call))
    return min(times)


def _timed(device: Device, call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    if device == "cuda":
        torch.cuda.synchronize()
    elif device == "mps":
        torch.mps.synchronize()
    return time.perf_counter() - start


@contextmanager
def with_threads(count: int) -> Iterator[None]:
    """So many threads in this process while the block runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
