"""The hardware that this process may use, and the memory that processes take, as the operating system states them."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Collection
from importlib import metadata
from pathlib import Path

import psutil

PROBE_VERSION = 4
"""Raise when `rung.lm.probe` measures otherwise, so that stored measurements are repeated."""


LIMITS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR")
"""Environment variables that limit which instructions PyTorch, oneDNN and MKL use."""


def fingerprint() -> str:
    """A digest of what the measured speeds depend on: CPU, instruction sets, cores, memory, GPU, torch.

    CPU flags are included because clouds sell different CPUs under one model name; variables that keep libraries from using some,
    where they are set, because their speeds are not those of the machine.
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
        *(f"{name}={os.environ[name]}" for name in LIMITS if os.environ.get(name)),
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
