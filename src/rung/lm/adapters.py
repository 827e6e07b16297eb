"""Small trainable parts put into a frozen model, through peft."""

from __future__ import annotations

from typing import Any

from peft import LoraConfig, get_peft_model

from rung.lm.lora_linear import fuse
from rung.lm.quiet import quiet


def lora(model: Any, rank: int, alpha: int, dropout: float, seed: int) -> Any:
    """LoRA on every linear layer but the output head. https://arxiv.org/abs/2106.09685; all layers: https://arxiv.org/abs/2405.09673"""
    import torch

    torch.manual_seed(seed)  # A is drawn at random, B starts at zero
    config = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules="all-linear", task_type="CAUSAL_LM", bias="none"
    )
    with quiet():
        adapted = get_peft_model(model, config)
    fuse(adapted)
    return adapted
