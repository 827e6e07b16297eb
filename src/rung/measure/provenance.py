"""What one needs to repeat a measurement: code, packages, machine, data, options."""

from __future__ import annotations

import platform
import subprocess
from dataclasses import asdict
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rung import __version__
from rung.machine import Machine

PACKAGES = ("torch", "transformers", "peft", "accelerate", "sentence-transformers", "scikit-learn", "numpy", "tokenizers")


@cache
def packages() -> dict[str, str]:
    found = {"python": platform.python_version(), "rung": __version__}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def revision(folder: Path) -> str:
    """Git revision of the task's folder, with `+` where files differ from it; empty outside a repository."""
    try:
        head, dirty = (
            # a repository that came with the task may name a program to be run as its file system monitor
            subprocess.run(
                ["git", "-c", "core.fsmonitor=false", *asked], cwd=folder, capture_output=True, text=True, check=True, timeout=5
            )
            for asked in (["rev-parse", "HEAD"], ["status", "--porcelain", "."])
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "")


def gather(folder: Path, machine: Machine, **content: Any) -> dict[str, Any]:
    return {"revision": revision(folder), "packages": packages(), "machine": asdict(machine), **content}
