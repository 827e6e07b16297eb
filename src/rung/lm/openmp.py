"""How long OpenMP threads spin while they wait for work, set before torch loads its OpenMP library."""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping

SPIN_COUNT = "3000"
"""Rounds that a waiting thread of libgomp spins before it sleeps.

libgomp's own default is 300,000, some milliseconds. On a machine that does nothing else that saves a wake-up; beside any other
program the spinning thread takes the processor from the thread that it waits for. `benchmarks/contended.py` measures both sides.
"""

WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""What a user may have set about waiting; then nothing is changed."""


def limit_spinning(environment: MutableMapping[str, str] = os.environ) -> bool:
    """Set GOMP_SPINCOUNT where the user has set nothing about waiting; whether it was set.

    libgomp reads it once, when it is loaded: after torch it would be too late, so then nothing is done. Child
    processes inherit it. macOS's and Intel's OpenMP do not read it. https://gcc.gnu.org/onlinedocs/libgomp/GOMP_005fSPINCOUNT.html
    """
    if "torch" in sys.modules or any(name in environment for name in WAITING):
        return False
    environment["GOMP_SPINCOUNT"] = SPIN_COUNT
    return True
