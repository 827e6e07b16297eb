"""The LoRA step that several programs time: the default model, its adapters and rows of banking77."""

from __future__ import annotations

import common

from rung.lm.models import adapters
from rung.lm.models.load import load
from rung.lm.trees import tree
from rung.types import Message

BATCH, RANK, ALPHA = 32, 16, 32


def rows_of(chat, count: int) -> list[tree.Row]:
    data = common.bank()
    picked = data[:: max(1, len(data) // count)][:count]
    return [chat.row((Message("system", common.SYSTEM), Message("user", text)), label) for text, label in picked]


def fresh(machine, rounds=False):
    """The model and its adapters, in training. `rounds`: frozen layers are bfloat16 where the machine is asked for it."""
    loaded = load(common.base_folder(), machine, frozen="base" if rounds and machine.frozen_bf16 else "")
    return loaded, adapters.lora(loaded.model, RANK, ALPHA, 0.0, seed=0).train()
