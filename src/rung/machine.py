"""This machine's speed, measured once and stored, and its price per hour."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Literal

import psutil

from rung.errors import RungError

Device = Literal["cpu", "cuda", "mps"]

PREFILL_EFFICIENCY = 0.75
"""Share of the measured matrix-product speed reached in prefill, without attention; measured on SmolLM2-135M."""
ATTENTION_COST = 0.7
"""Time of attention over that of the weights' products on a CPU, when a token attends to as many tokens as the model is wide."""
MODEL_OPEN_SECONDS = 3.0
"""Approximate time to import and open an embedding model of any size: most of a small fit."""

DECODE_STEP_SECONDS = 0.02
"""Approximate fixed overhead of a decoding step: Python and hundreds of small operations."""
EFFICIENCY = 0.5
"""Share of the measured matrix-product speed reached by a whole training step, or by the products of a decoding step.

Attention, normalisation, small matrices, Python and the optimizer take the rest. Large published runs reach 0.2 to 0.5
of the theoretical peak (PaLM, https://arxiv.org/abs/2204.02311, section 4.1); the measured speed used
here is below that peak. An estimate is a forecast; the measured cost is shown beside it.
"""

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}

USD_PER_CORE_HOUR = 0.05
"""CPU machines: about the on-demand cloud price of one vCPU ($0.10 an hour for two). A laptop costs less to run, but the
comparison of rungs should not change on a rented machine."""

USD_PER_GPU_HOUR = {
    "B200": 6.00,
    "MI300X": 3.50,
    "H200": 4.00,
    "H100": 3.00,
    "A100": 1.50,
    "L40S": 1.90,
    "L4": 0.80,
    "A10": 1.00,
    "T4": 0.50,
    "V100": 1.00,
    "4090": 0.50,
    "3090": 0.30,
}
"""One GPU on demand, middle of 2026, rounded from public list prices, which differ by two to three times.
Set `machine_usd_per_hour` in rung.yaml, or prices.yaml under `home()`, to what you pay."""

USD_PER_OTHER_GPU_HOUR = 1.00

PROBE_VERSION = 4
"""Raise when `rung.lm.probe` measures otherwise, so that stored measurements are repeated."""

BUSY_SHARE = 0.3
"""Maximum CPU share of other programs during a stored measurement; above it the speed would be too low."""


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
    """Whether fits store and multiply frozen weights in bfloat16 on this CPU, and compute all else in float32: the task asks for
    it (`freezing`), a measurement never does."""
    usd_per_hour: float = 0.0

    @property
    def multiplies_bf16(self) -> bool:
        """Whether this CPU has hardware support for bfloat16 (AVX512-BF16, AMX), by its speed: an emulated product takes about 70
        times as long as one in float32."""
        return self.device == "cpu" and (self.bf16_speedup > 1 or 2 * self.gflops.get("bfloat16", 0.0) >= self.gflops["float32"])

    def freezing(self, bf16: bool) -> Machine:
        """This machine, with frozen weights in bfloat16 if they are asked for and it multiplies them."""
        return replace(self, frozen_bf16=bf16 and self.multiplies_bf16)

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


def list_price(device: Device, device_name: str, cores: int) -> float:
    """US dollars per hour for such a machine, from the tables above."""
    if device != "cuda":
        return USD_PER_CORE_HOUR * cores
    words = device_name.upper().replace("-", " ").split()
    return next((usd for gpu, usd in USD_PER_GPU_HOUR.items() if gpu in words), USD_PER_OTHER_GPU_HOUR)


def user_prices() -> dict[str, float]:
    """The user's prices in US dollars per hour by kind of machine, from prices.yaml under `home()`; empty without it.

    `machines: {h100: 2.10, core: 0.04}`: a GPU by its kind in `rung.machines`, a processor core as `core`.
    """
    path = home() / "prices.yaml"
    if not path.exists():
        return {}
    import yaml

    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    stated = found.get("machines", {}) if isinstance(found, dict) else None
    if not isinstance(stated, dict) or not all(isinstance(usd, int | float) and usd >= 0 for usd in stated.values()):
        raise RungError(
            f"machines is {stated!r}, but must map kinds to dollars per hour.",
            where=str(path),
            remedy="Write for example: machines: {h100: 2.10, core: 0.04}",
        )
    return {str(kind).lower(): float(usd) for kind, usd in stated.items()}


def home() -> Path:
    """Folder for models and measurements: RUNG_HOME, or ~/.cache/rung."""
    return Path(os.environ.get("RUNG_HOME") or "~/.cache/rung").expanduser()


def default_price(machine: Machine) -> float:
    """The user's price for this kind of machine, or the list price."""
    own = user_prices()
    if machine.device != "cuda":
        return own["core"] * machine.cores if "core" in own else list_price(machine.device, "", machine.cores)
    words = machine.device_name.lower().replace("-", " ").split()
    listed = list_price(machine.device, machine.device_name, machine.cores)
    return next((usd for kind, usd in own.items() if kind in words), listed)


def fingerprint() -> str:
    """A digest of what the measured speeds depend on: CPU, instruction sets, cores, memory, GPU, torch.

    CPU flags are included because clouds sell different CPUs under one model name.
    """
    facts = [
        PROBE_VERSION,
        platform.machine(),
        cpu_name(),
        _cpu_flags(),
        usable_cores(),
        usable_threads(),
        usable_memory(),
        gpu_names(),
        metadata.version("torch"),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]


def _cpuinfo(field: str) -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == field), "")


def cpu_name() -> str:
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _cpu_flags() -> str:
    return _cpuinfo("flags") or _cpuinfo("Features")


def gpu_names() -> str:
    """The NVIDIA GPUs this process may see, without importing torch; empty where there are none."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
    if not visible or visible == "-1" or not (tool := shutil.which("nvidia-smi")):
        return ""
    listed = subprocess.run(
        [tool, "--query-gpu=name,memory.total", "--format=csv,noheader"], capture_output=True, text=True, check=False
    )
    return f"{visible}: {listed.stdout.strip()}" if listed.returncode == 0 else ""


def gpu_bytes(pids: Collection[int]) -> int:
    """Memory of NVIDIA GPUs that these processes hold now; 0 where there is none, or where the driver does not say."""
    if not (tool := shutil.which("nvidia-smi")):
        return 0
    asked = [tool, "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"]
    listed = subprocess.run(asked, capture_output=True, text=True, check=False)
    rows = [line.split(",") for line in listed.stdout.splitlines()] if listed.returncode == 0 else []
    held = {int(pid): mib.strip() for pid, mib in rows if pid.strip().isdigit()}
    return sum(int(mib) << 20 for pid, mib in held.items() if pid in pids and mib.isdigit())


def peak_bytes(pid: int | str = "self") -> int:
    """Most main memory that a process has had, as Linux notes it; 0 where nothing notes it."""
    status = Path(f"/proc/{pid}/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


def affinity() -> list[int]:
    """Numbers of the logical processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))  # macOS and Windows builds of Python do not support affinity


def _cgroup(name: str) -> list[str]:
    path = Path("/sys/fs/cgroup") / name
    return path.read_text().split() if path.exists() else []


def _quota() -> float:
    """CPU quota of the container in CPUs; infinite without a limit."""
    match _cgroup("cpu.max"):
        case [quota, period] if quota != "max":
            return int(quota) / int(period)
    return float("inf")


def usable_cores() -> int:
    """Logical processors this process may use."""
    return max(1, int(min(len(affinity()), _quota())))


def usable_threads() -> int:
    """Physical cores this process may use: two threads on one core compete for its arithmetic units."""
    cores = set()
    for cpu in affinity():
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        cores.add(siblings.read_text() if siblings.exists() else str(cpu))
    physical = psutil.cpu_count(logical=False) or len(cores)
    return max(1, int(min(len(cores), physical, _quota())))


def usable_memory() -> int:
    """Bytes of main memory this process may use."""
    total = int(psutil.virtual_memory().total)
    match _cgroup("memory.max"):
        case [limit] if limit != "max":
            return min(total, int(limit))
    return total
