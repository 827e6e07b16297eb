"""Adapters on a frozen model, through peft."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import (
    IA3Config,
    LNTuningConfig,
    LoraConfig,
    PeftModel,
    PrefixTuningConfig,
    PromptTuningConfig,
    get_peft_model,
    initialize_kv_prefix_from_past_key_values,
)

from rung.errors import ModelError
from rung.lm import processes
from rung.lm.models import own_adapters
from rung.lm.models.lora_linear import fuse
from rung.lm.quiet import quiet
from rung.lm.trees import virtual


def lora(
    model: Any,
    rank: int,
    alpha: int,
    dropout: float,
    seed: int,
    stabilised: bool = False,
    decomposed: bool = False,
    whole: Sequence[str] = (),
) -> Any:
    """LoRA on every linear layer but the output head. https://arxiv.org/abs/2106.09685; all layers: https://arxiv.org/abs/2405.09673

    `stabilised`: scaled by alpha / sqrt(rank) (rsLoRA, https://arxiv.org/abs/2312.03732). `decomposed`: weight direction and
    magnitude trained separately (DoRA, https://arxiv.org/abs/2402.09353). `whole`: modules trained and saved in full, such
    as a new head.
    """
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
        bias="none",
        use_rslora=stabilised,
        use_dora=decomposed,
        modules_to_save=list(whole) or None,
    )
    adapted = _adapted(model, config, seed)  # A is random, B is zero
    fuse(adapted)
    return adapted


def ia3(model: Any) -> Any:
    """IA3: one factor per channel of keys, values (or queries) and the feed-forward layer. https://arxiv.org/abs/2205.05638"""
    return _adapted(model, IA3Config(task_type="CAUSAL_LM"), 0)


def norms(model: Any) -> Any:
    """The gains (and biases) of all normalization layers. https://arxiv.org/abs/2312.11420"""
    targets = {name.rpartition(".")[-1] for name, module in model.named_modules() if "Norm" in type(module).__name__}
    if not targets:
        raise ModelError(f"a {model.config.model_type!r} has no normalization layers to train.", remedy="Choose another adapter.")
    return _adapted(model, LNTuningConfig(task_type="CAUSAL_LM", target_modules=sorted(targets)), 0)


def prompt(model: Any, words: Sequence[int]) -> Any:
    """Prompt tuning: trained embeddings before every row, initialized from those of `words`. https://arxiv.org/abs/2104.08691"""
    begin = model.get_input_embeddings()(torch.tensor(list(words), device=model.device)).detach()
    adapted = _adapted(model, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=len(words)), 0)
    with torch.no_grad():
        adapted.prompt_encoder[adapted.active_adapter].embedding.weight.copy_(begin)
    return adapted


def prefix(model: Any, words: Sequence[int]) -> Any:
    """Prefix tuning: trained keys and values before every row in every layer, initialized from those of `words`.

    https://arxiv.org/abs/2101.00190, without its reparametrization: initialized from real keys and values, training is stable.
    """
    begin = model.get_input_embeddings()(torch.tensor([list(words)], device=model.device))
    with torch.no_grad():
        states = virtual.prefill(model, begin)
    adapted = _adapted(model, PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=len(words)), 0)
    initialize_kv_prefix_from_past_key_values(adapted, past_key_values=states)
    return adapted


def save(model: Any, folder: Path) -> None:
    """Write the adapter without the base; of several processes the main one does."""
    state = processes.full_state_dict(model)
    folder.mkdir(parents=True, exist_ok=True)
    if not processes.is_main_process():
        return
    if isinstance(model, PeftModel):
        model.save_pretrained(str(folder), state_dict=state)  # written into: a fit's workplace
    else:
        own_adapters.save(model, folder, state)


def restore(model: Any, folder: Path, merged: bool = True) -> Any:
    """The model with a saved adapter, merged into the weights if `merged` and if that is possible."""
    if (folder / own_adapters.FILE).exists():
        return own_adapters.restore(model, folder)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        adapted: Any = PeftModel.from_pretrained(model, folder)
    if faults := [str(one.message) for one in caught if "missing adapter keys" in str(one.message)]:
        raise ModelError(
            f"the adapter's file is incomplete: {faults[0]}", where=str(folder), remedy="Fit it again, or copy it again."
        )
    if merged and not virtual.size(adapted):
        return adapted.merge_and_unload()
    fuse(adapted)
    return adapted


def is_four_bit(model: Any) -> bool:
    """Whether the model's weights are quantized to 4 bits."""
    return bool(getattr(model, "is_loaded_in_4bit", False))


def _adapted(model: Any, config: Any, seed: int) -> Any:
    torch.manual_seed(seed)
    try:
        with quiet():
            return get_peft_model(model, config)
    except ValueError as error:  # peft does not know which layers of this architecture to adapt
        kind = type(config).__name__.removesuffix("Config")
        raise ModelError(
            f"{kind} does not support a {model.config.model_type!r}: {error}", remedy="Choose another adapter."
        ) from error
