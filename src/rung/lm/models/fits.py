"""The folder of a ModelRef: what was fitted on a base, and the earlier fits it builds on.

adapter_config.json …    a peft adapter, as every server reads it
tensors.safetensors      trained tensors of adapters that peft does not have (`rung.lm.models.own_adapters`)
four_bit                 marks an adapter that was trained on 4-bit weights
config.json …            full weights with their tokenizer, which replace the base
reward-model/            a reward model (`rung.lm.training.rewards`), fitted on before/
before/                  the fit before this one, in the same form
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

BEFORE = "before"
FOUR_BIT = "four_bit"
REWARD_MODEL = "reward-model"


def split(base: Path, files: str) -> tuple[Path, list[Path]]:
    """The folder to load full weights from, and the adapters to merge into them, oldest first."""
    adapters: list[Path] = []
    folder = Path(files) if files else None
    while folder is not None and folder.is_dir():
        if (folder / "config.json").exists():
            return folder, adapters[::-1]
        if not (folder / REWARD_MODEL).exists():
            adapters.append(folder)
        folder = folder / BEFORE
    return base, adapters[::-1]


def reward_model(files: str) -> Path | None:
    """The latest fit that contains a reward model; None if none does."""
    folder = Path(files) if files else None
    while folder is not None and folder.is_dir():
        if (folder / REWARD_MODEL).exists():
            return folder
        folder = folder / BEFORE
    return None


def is_four_bit(adapter: Path) -> bool:
    """Whether an adapter was trained on 4-bit weights."""
    return (adapter / FOUR_BIT).exists()


def link_previous(files: Path, before: str) -> None:
    """Store the fit that an adapter was trained on in its folder. Hard links if the disk allows them: weights are large."""
    if before:
        shutil.copytree(before, files / BEFORE, copy_function=link)


def link(source: str, target: str) -> str:
    """A hard link; a copy if source and target are on different disks."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target
