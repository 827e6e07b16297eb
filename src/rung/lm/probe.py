"""Measuring this machine: matrix-product speed by data type, the speed of reading weights, memory (up to 2 s)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.functional import linear

from rung.contention import watch_others
from rung.lm.models import onednn_linear
from rung.machine import Device, Machine, cpu_name, usable_cores, usable_memory, usable_threads

Work = tuple[float, Callable[[], Any]]
"""10^9 operations or bytes, and the call that gets through them."""

SECONDS = 0.08
"""Length of one window. The best run within it counts, since a neighbour's load only ever slows one down."""

ROUNDS = 4
"""Windows for each number. The numbers take turns, so that a neighbour's burst spoils one window of each, not one number."""

SIZES = {"cpu": 1024, "cuda": 8192, "mps": 4096}
"""Edge of the square matrices: large enough that the machine, not the call, is measured."""

SMALL = 256
"""Edge of a first, cheap product for the types that a processor may have no units for (bf16 then runs about 70 times
slower than float32): where it shows that, the large one is left out, since it would take seconds."""

VECTOR_BYTES = {"cpu": 2**28, "cuda": 2**30, "mps": 2**29}
"""Size of the matrix read in the bandwidth measurement: well over any cache."""

WORTH = 1.2
"""bf16 is taken on an accelerator when it measures at least this many times the speed of float32: below that the lost
digits buy nothing."""

WORTH_ONEDNN = 1.02
"""oneDNN is taken when it measures at least this many times the speed of PyTorch's own choice."""


def measure() -> tuple[Machine, float]:
    """This machine, measured now, and the share of its processors, 0 to 1, that other programs took meanwhile.

    `usd_per_hour` stays 0: prices belong to the caller.
    """
    device, threads = find_device(), usable_threads()
    with watch_others() as others, _threads(threads):
        works = {_plain(dtype): matrix_work(device, dtype) for dtype in _dtypes(device)}
        works["reading"] = reading_work(device)
        if device == "cpu" and onednn_linear.has_onednn():
            works["oneDNN"] = matrix_work(device, torch.float32, onednn_linear.onednn)
        speeds = dict(zip(works, fastest(device, list(works.values())), strict=True))
        share = others()
    bandwidth, by_onednn = speeds.pop("reading"), speeds.pop("oneDNN", 0.0)
    onednn = by_onednn >= WORTH_ONEDNN * speeds["float32"]
    gflops = speeds | {"float32": by_onednn if onednn else speeds["float32"]}
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
    )
    return machine, share


def find_device() -> Device:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def choose_dtype(device: Device, gflops: dict[str, float]) -> str:
    """float32 on a processor, always: bf16 loses digits in the optimizer, and most processors have no units for it.
    bf16 on an accelerator that measures it faster. float16 never: it needs loss scaling."""
    if device == "cpu":
        return "float32"
    return "bfloat16" if gflops.get("bfloat16", 0) >= WORTH * gflops["float32"] else "float32"


def matrix_work(device: Device, dtype: torch.dtype, by: onednn_linear.Product = linear) -> Work:
    """A square matrix product, of a layer's kind."""

    def product(size: int) -> Work:
        a = torch.randn(size, size, device=device).to(dtype)
        b = torch.randn(size, size, device=device).to(dtype)
        return 2 * size**3 / 1e9, lambda: by(a, b, None)

    size = SIZES[device]
    if device == "cpu" and dtype != torch.float32:
        small = product(SMALL)
        if _window(device, small[1]) * (size / SMALL) ** 3 > 4 * SECONDS:
            return small
    return product(size)


def reading_work(device: Device) -> Work:
    """Reading weights as decoding does: a matrix times a vector."""
    size = VECTOR_BYTES[device]
    matrix = torch.ones(size // 4 // 4096, 4096, device=device)
    vector = torch.ones(4096, device=device)
    return size / 1e9, lambda: matrix @ vector


def fastest(device: Device, works: Sequence[Work]) -> list[float]:
    """The speed of each piece of work, 10^9 a second, in the fastest run of several short windows."""
    best = [math.inf] * len(works)
    for _ in range(ROUNDS):
        for i, (_, call) in enumerate(works):
            best[i] = min(best[i], _window(device, call))
    return [amount / seconds for (amount, _), seconds in zip(works, best, strict=True)]


def memory(device: Device) -> int:
    """Bytes of the memory that holds the model."""
    if device == "cuda":
        return int(torch.cuda.mem_get_info()[1])
    if device == "mps":
        return int(torch.mps.recommended_max_memory())
    return usable_memory()


def _dtypes(device: Device) -> tuple[torch.dtype, ...]:
    if device == "cpu":
        return (torch.float32, torch.bfloat16)
    return (torch.float32, torch.bfloat16, torch.float16)


def _plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _window(device: Device, call: Callable[[], Any]) -> float:
    """Seconds of the fastest run in one window."""
    times, end = [_timed(device, call)], time.perf_counter() + SECONDS
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
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
