"""What other engines take of an adapter of peft: plain LoRA, every layer of one rank."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rung.lm.models import weights

UNEVEN = ("use_dora", "modules_to_save", "alpha_pattern", "rank_pattern")


def settings(adapter: Path) -> dict[str, Any]:
    """The adapter's configuration."""
    found: dict[str, Any] = json.loads((adapter / weights.ADAPTER_CONFIG).read_text(encoding="utf-8"))
    return found


def more_than_plain(found: dict[str, Any]) -> list[str]:
    """What makes the adapter more than plain LoRA, in words; empty for plain LoRA."""
    if (kind := found.get("peft_type")) != "LORA":
        return [f"it is {kind}, not LoRA"]
    biased = ["it trains biases"] if found.get("bias", "none") != "none" or found.get("lora_bias") else []
    return [f"it has {name}" for name in UNEVEN if found.get(name)] + biased
