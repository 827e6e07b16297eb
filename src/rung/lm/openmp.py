"""How long OpenMP threads spin while they wait for work, set before torch loads its OpenMP library."""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping

SPIN_COUNT = "3000"
"""Rounds that a waiting libgomp thread spins before it sleeps.

libgomp's own default is 300,000, a few milliseconds. On an idle machine that saves a wake-up; if other programs run, the
spinning thread takes the core from the thread it waits for. `benchmarks/contended.py` measures both.
"""

WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Variables by which a user may have configured waiting; then nothing is changed."""


def limit_spinning(environment: MutableMapping[str, str] = os.environ) -> bool:
    """Set GOMP_SPINCOUNT unless the user has configured waiting; returns whether it was set.

    libgomp reads it once, on load. Once torch is imported it is too late, and nothing is done. Child
    processes inherit it. OpenMP of macOS and Intel ignore it. https://gcc.gnu.org/onlinedocs/libgomp/GOMP_005fSPINCOUNT.html
    """
    if "torch" in sys.modules or any(name in environment for name in WAITING):
        return False
    environment["GOMP_SPINCOUNT"] = SPIN_COUNT
    return True
