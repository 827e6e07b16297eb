"""Peak memory of a piece of work."""

from __future__ import annotations

import ctypes
import gc
import resource
import sys
from pathlib import Path
from typing import Any

from rung.hardware import peak_bytes

_CLEAR = Path("/proc/self/clear_refs")


def reset_peak() -> None:
    """Reset the peak on Linux; elsewhere the peak covers the whole process."""
    if gpu := _gpu():
        gpu.reset_peak_memory_stats()
    try:
        _CLEAR.write_text("5")  # written into: /proc, a request to the kernel
    except OSError:
        return


def peak() -> int:
    """Peak bytes since the last reset; GPU memory if a GPU was used."""
    if (gpu := _gpu()) and (most := gpu.max_memory_allocated()):
        return int(most)
    if noted := peak_bytes():
        return noted
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def give_back() -> None:
    """Free what only refers to itself, as a trainer and its model do, and give freed memory back to the system.

    The latter where Linux's C library can: it keeps what a training freed in small pieces.
    https://man7.org/linux/man-pages/man3/malloc_trim.3.html
    """
    gc.collect()
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)


def _gpu() -> Any:
    """torch.cuda if it is loaded and in use, for its memory statistics."""
    torch: Any = sys.modules.get("torch")
    return torch.cuda if torch and torch.cuda.is_initialized() else None
