"""How much memory a piece of work took at its peak."""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from typing import Any

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def reset_peak() -> None:
    """Forget earlier peaks, where the system can (Linux); elsewhere the peak is that of the whole process."""
    if gpu := _gpu():
        gpu.reset_peak_memory_stats()
    try:
        _CLEAR.write_text("5")
    except OSError:
        return


def peak() -> int:
    """Most bytes this process has held in memory since the last reset; of a GPU's, where it has computed on one."""
    if (gpu := _gpu()) and (held := gpu.max_memory_allocated()):
        return int(held)
    if _STATUS.exists():
        lines = [line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:")]
        if lines:
            return int(lines[0].split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _gpu() -> Any:
    """The books that torch keeps of the GPU's memory, where it has been loaded and uses one."""
    torch: Any = sys.modules.get("torch")
    return torch.cuda if torch and torch.cuda.is_initialized() else None
