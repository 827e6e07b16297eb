"""Provenance of a measurement: code, packages, machine, data, options."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rung import metrics, plugins
from rung.evaluate.revision import revision
from rung.lm import engine_kinds
from rung.lm.base import ModelRef
from rung.machine import Machine
from rung.types import Provenance
from rung.version import __version__

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


def plugins_of(chain: Sequence[object], metric: str, model: ModelRef) -> tuple[str, ...]:
    """Packages with versions whose plug-ins a measurement used: methods, the metric, the engine."""
    found = [*map(plugins.origin, chain), metrics.TABLE.origin(metric), engine_kinds.TABLE.origin(model.kind)]
    return tuple(sorted({one for one in found if one}))


def gather(folder: Path, machine: Machine) -> Provenance:
    """Code, packages and machine of a measurement made now; `uncommitted` is explained in rung.evaluate.revision."""
    return Provenance(revision=revision(folder), uncommitted="unknown", packages=packages(), machine=asdict(machine))
