"""Measuring this machine: matrix-product speed by data type, the speed of reading weights, memory (1-2 s)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from rung.machine import Device, Machine, cpu_name, usable_cores, usable_memory, usable_threads

SECONDS = 0.25
"""Time spent on each number. The best run within it counts, since a neighbour's load only ever slows one down."""

SIZES = {"cpu": 1024, "cuda": 8192, "mps": 4096}
"""Edge of the square matrices: large enough that the machine, not the call, is measured."""

SMALL = 256
"""Edge of a first, cheap product for the types that a processor may have no units for (bf16 then runs about 70 times
slower than float32): where it shows that, the large one is left out, since it would take seconds."""

RUNS = 8
"""Runs at least, however slow: on a busy machine a single run can be held up for many times its length."""

VECTOR_BYTES = {"cpu": 2**28, "cuda": 2**31, "mps": 2**29}
"""Size of the matrix read in the bandwidth measurement: well over any cache."""

WORTH = 1.2
"""bf16 is taken on an accelerator when it measures at least this many times the speed of float32: below that the lost
digits buy nothing."""


def measure() -> Machine:
    """This machine, measured now. `usd_per_hour` stays 0: prices belong to the caller."""
    device = find_device()
    threads = usable_threads()
    with _threads(threads):
        gflops = {str(dtype).removeprefix("torch."): matrix_gflops(device, dtype) for dtype in _dtypes(device)}
        bandwidth = bandwidth_gbs(device)
    name = torch.cuda.get_device_name() if device == "cuda" else cpu_name()
    return Machine(
        name=name if device == "cuda" else f"{name}, {threads} threads",
        cores=usable_cores(),
        threads=threads,
        memory_bytes=memory(device),
        device=device,
        device_name=name,
        gflops=gflops,
        bandwidth_gbs=bandwidth,
        dtype=choose_dtype(device, gflops),
    )


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


def matrix_gflops(device: Device, dtype: torch.dtype) -> float:
    """Best speed of a square matrix product, 10^9 operations a second."""

    def product(size: int) -> Callable[[], Any]:
        a = torch.randn(size, size, device=device).to(dtype)
        b = torch.randn(size, size, device=device).to(dtype)
        return lambda: a @ b

    size = SIZES[device]
    if device == "cpu" and dtype != torch.float32:
        small = _best(device, product(SMALL))
        if small * (size / SMALL) ** 3 > 2 * SECONDS:
            return 2 * SMALL**3 / small / 1e9
    return 2 * size**3 / _best(device, product(size)) / 1e9


def bandwidth_gbs(device: Device) -> float:
    """Speed of reading weights, 10^9 bytes a second, measured by what decoding does: a matrix times a vector."""
    size = VECTOR_BYTES[device]
    matrix = torch.ones(size // 4 // 4096, 4096, device=device)
    vector = torch.ones(4096, device=device)
    return size / _best(device, lambda: matrix @ vector) / 1e9


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


def _best(device: Device, call: Callable[[], Any], seconds: float = SECONDS) -> float:
    """Seconds of the fastest run, after one run to warm up."""
    times: list[float] = []
    _timed(device, call)
    end = time.perf_counter() + seconds
    while len(times) < RUNS or time.perf_counter() < end:
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
