"""benchmarks/gpu.py: both of its sides run, and without a GPU it says so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[1] / "benchmarks" / "gpu.py"


def run(*options: str) -> subprocess.CompletedProcess[str]:
    blind = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        [sys.executable, str(PROGRAM), *options], capture_output=True, text=True, timeout=300, check=False, env=blind
    )


@pytest.mark.slow
def test_both_sides_train_alike() -> None:
    done = run("--cpu", "--tiny")
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1].startswith("ratio=")
    apart = [float(line.rpartition("losses at most ")[2].split()[0]) for line in done.stdout.splitlines() if "apart" in line]
    assert len(apart) == 2
    assert max(apart) < 1e-5  # another rate in one step makes it 2e-4


@pytest.mark.slow
def test_without_a_gpu_nothing_is_measured() -> None:
    done = run("--quick")
    assert done.returncode == 2
    assert "torch sees none" in done.stderr
