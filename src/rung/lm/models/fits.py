"""What was fitted on a base, layer on layer: the folder of a ModelRef and how later fits stand on earlier ones.

adapter_config.json …    a peft adapter, as every server reads it
tensors.safetensors      trained tensors by name, of the kinds that peft has no adapter for (`rung.lm.models.small_parts`)
four_bit                 mark of an adapter that was trained beside 4-bit weights
config.json …            whole weights with their tokenizer; they take the place of the base
reward-model/            a reward model (`rung.lm.training.rewards`), fitted on what stands in before/
before/                  what had been fitted before this one, in the same form
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

BEFORE = "before"
FOUR_BIT = "four_bit"
REWARD_MODEL = "reward-model"


def split(base: Path, files: str) -> tuple[Path, list[Path]]:
    """The folder that the whole weights are read from, and the adapters to merge into them, lowest first."""
    found: list[Path] = []
    folder = Path(files) if files else None
    while folder is not None and folder.is_dir():
        if (folder / "config.json").exists():
            return folder, found[::-1]
        if not (folder / REWARD_MODEL).exists():
            found.append(folder)
        folder = folder / BEFORE
    return base, found[::-1]


def reward_model(files: str) -> Path | None:
    """The topmost layer that holds a reward model; None where none does."""
    folder = Path(files) if files else None
    while folder is not None and folder.is_dir():
        if (folder / REWARD_MODEL).exists():
            return folder
        folder = folder / BEFORE
    return None


def is_four_bit(adapter: Path) -> bool:
    """Whether an adapter was trained beside 4-bit weights."""
    return (adapter / FOUR_BIT).exists()


def put_below(files: Path, before: str) -> None:
    """Keep what an adapter was trained on beside it. Files are linked where the disk allows, not copied: weights are large."""
    if before:
        shutil.copytree(before, files / BEFORE, copy_function=link)


def link(source: str, target: str) -> str:
    """A second name for a file; a copy where the two places lie on different disks."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target
