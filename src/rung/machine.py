"""What this machine can do, measured once and kept, and what an hour of it costs."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

import psutil

from rung.errors import RungError

Device = Literal["cpu", "cuda", "mps"]

READING = 0.75
"""Share of the measured matrix-product speed that reading a prompt reaches, attention apart; measured on SmolLM2-135M."""
ATTENDING = 0.7
"""Attention's time over that of the weights' products, where a token attends to as many as the model is wide; on a processor."""
OPENING_SECONDS = 3.0
"""To import what an embedding model needs and to open it, whatever its size, about: most of what a small fit takes."""

STEP_SECONDS = 0.02
"""Of a step of decoding, what Python and hundreds of small operations take whatever the model and the batch, about."""
EFFICIENCY = 0.5
"""Share of the measured matrix-product speed that a whole training step, or the products of a step of decoding, reach.

Attention, normalisation, small matrices, Python and the optimizer take the rest. Large published runs reach 0.2 to 0.5
of the hardware's peak on paper (PaLM, https://arxiv.org/abs/2204.02311, section 4.1); the measured speed that is the
base here lies below that peak. A quote is a forecast; the measured cost stands beside it.
"""

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}

USD_PER_CORE_HOUR = 0.05
"""CPU machines: about what a cloud asks for one vCPU on demand (0.10 $ an hour for two). A laptop costs less to run,
but the comparison between rungs should not change when the same task moves to a rented machine."""

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
"""One GPU on demand, middle of 2026, rounded from public list prices, which differ two- to threefold between sellers.
Set `machine_usd_per_hour` in rung.yaml, or prices.yaml under `home()`, to what you pay."""

USD_PER_OTHER_GPU_HOUR = 1.00

PROBE_VERSION = 3
"""Raise when `rung.lm.probe` measures otherwise, so that kept files are measured anew."""

BUSY = 0.3
"""Share of the processors that other programs may take during a measurement that is kept; with more, it is too low."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One machine as the quotes see it. Speeds are measured; everything computed from them is a forecast."""

    name: str
    cores: int
    """Logical processors this process may use (affinity and cgroup respected)."""
    threads: int
    """Physical cores among them: the thread count that matrix products are fastest with."""
    memory_bytes: int
    """Of the device that holds the model: the GPU's, or the machine's (cgroup limit respected)."""
    device: Device
    device_name: str
    gflops: Mapping[str, float]
    """Matrix-product speed by data type, 10^9 floating-point operations a second."""
    bandwidth_gbs: float
    """Speed at which weights are read in a matrix-vector product, 10^9 bytes a second."""
    dtype: str
    """The data type to compute in, chosen from `gflops`, never from a default."""
    onednn: bool = False
    """Whether its float32 products are faster by oneDNN (`rung.lm.models.onednn_linear`) than as PyTorch chooses; `gflops` has
    the faster speed."""
    usd_per_hour: float = 0.0

    def _seconds(self, flops: float, efficiency: float = EFFICIENCY) -> float:
        return flops / (self.gflops[self.dtype] * 1e9 * efficiency)

    def training_seconds(self, parameters: int, trainable_share: float, tokens: int, epochs: float = 1) -> float:
        """Wall-clock seconds to train on `tokens` (those really computed: after sharing and padding) `epochs` times.

        2 operations a parameter and token forward, 2 backward for the activations, and 2 more for the weights that
        are trained (https://arxiv.org/abs/2001.08361, section 2.1): an adapter costs about two thirds of full training.
        """
        return self._seconds(parameters * (4 + 2 * trainable_share) * tokens * epochs)

    def prefill_seconds(self, parameters: int, tokens: float, behind: float = 0.0) -> float:
        """Seconds to read `tokens` of prompt (or to score them): 2 operations a parameter and token, and attention.

        `behind`: the tokens that each of them attends to, on average. Once these are as many as the model is wide, attention
        takes 4 operations where the weights take 24 (times the width squared, a layer); on a processor it runs more slowly.
        """
        attending = (ATTENDING if self.device == "cpu" else 1 / 6) * behind / width(parameters)
        return self._seconds(2 * parameters * tokens * (1 + attending), READING)

    def decode_seconds(self, parameters: int, tokens: int, batch: int = 1) -> float:
        """Seconds until `batch` answers of `tokens` each, written side by side, are done.

        Every step reads all weights once and computes for every answer; the two seldom overlap, so they are added. A `batch`
        of 0 leaves the computing out.
        """
        reading = parameters * BYTES[self.dtype] / (self.bandwidth_gbs * 1e9)
        return tokens * (STEP_SECONDS + reading + self._seconds(2 * parameters * batch))

    def usd(self, seconds: float) -> float:
        """What `seconds` of this machine cost in US dollars."""
        return seconds / 3600 * self.usd_per_hour


def width(parameters: int) -> float:
    """About how wide a model of so many parameters is: 580 for SmolLM2-135M's 576, 1,760 for Llama 3.2 1B's 2,048."""
    return 0.05 * max(1, parameters) ** 0.5


def list_price(device: Device, device_name: str, cores: int) -> float:
    """US dollars an hour for a machine like this one, from the small dated tables above."""
    if device != "cuda":
        return USD_PER_CORE_HOUR * cores
    words = device_name.upper().replace("-", " ").split()
    return next((usd for gpu, usd in USD_PER_GPU_HOUR.items() if gpu in words), USD_PER_OTHER_GPU_HOUR)


def own_prices() -> dict[str, float]:
    """US dollars an hour by kind of machine, as the user states them in prices.yaml under `home()`; empty without the file.

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
            f"machines is {stated!r}, and should be dollars an hour by kind.",
            where=str(path),
            remedy="Write for example: machines: {h100: 2.10, core: 0.04}",
        )
    return {str(kind).lower(): float(usd) for kind, usd in stated.items()}


def home() -> Path:
    """Where rung keeps models and measurements: RUNG_HOME, or ~/.cache/rung."""
    return Path(os.environ.get("RUNG_HOME") or "~/.cache/rung").expanduser()


def usual_price(machine: Machine) -> float:
    """The user's own price for a machine of this kind, or else the list price."""
    own = own_prices()
    if machine.device != "cuda":
        return own["core"] * machine.cores if "core" in own else list_price(machine.device, "", machine.cores)
    words = machine.device_name.lower().replace("-", " ").split()
    listed = list_price(machine.device, machine.device_name, machine.cores)
    return next((usd for kind, usd in own.items() if kind in words), listed)


def fingerprint() -> str:
    """A short name for what the measured speeds depend on: processor, instruction sets, cores, memory, GPU, torch.

    The flags are in it because clouds sell different processors under one model name.
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


def affinity() -> list[int]:
    """Numbers of the logical processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))  # macOS and Windows builds of Python know no affinity


def _cgroup(name: str) -> list[str]:
    path = Path("/sys/fs/cgroup") / name
    return path.read_text().split() if path.exists() else []


def _quota() -> float:
    """Processors' worth of time that the container grants; infinite without a limit."""
    match _cgroup("cpu.max"):
        case [quota, period] if quota != "max":
            return int(quota) / int(period)
    return float("inf")


def usable_cores() -> int:
    """Logical processors this process may use."""
    return max(1, int(min(len(affinity()), _quota())))


def usable_threads() -> int:
    """Physical cores this process may use: two threads on one core share its arithmetic and get in each other's way."""
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
