"""Small trainable parts put into a frozen model, through peft."""

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
from rung.lm.models import small_parts
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

    `stabilised`: scaled by alpha / sqrt(rank) (rsLoRA, https://arxiv.org/abs/2312.03732). `decomposed`: directions and
    lengths of the weights trained apart (DoRA, https://arxiv.org/abs/2402.09353). `whole`: modules trained and saved as
    they are, a new head for one.
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
    adapted = _adapted(model, config, seed)  # A is drawn at random, B starts at zero
    fuse(adapted)
    return adapted


def factors(model: Any) -> Any:
    """IA3: a factor for each channel of keys, values (or queries) and the inner feed-forward part. https://arxiv.org/abs/2205.05638"""
    return _adapted(model, IA3Config(task_type="CAUSAL_LM"), 0)


def norms(model: Any) -> Any:
    """The gains (and shifts) of all normalisation layers. https://arxiv.org/abs/2312.11420"""
    found = {name.rpartition(".")[-1] for name, module in model.named_modules() if "Norm" in type(module).__name__}
    if not found:
        raise ModelError(
            f"a {model.config.model_type!r} has no normalisation layers to train.", remedy="Train another kind of adapter."
        )
    return _adapted(model, LNTuningConfig(task_type="CAUSAL_LM", target_modules=sorted(found)), 0)


def prompt(model: Any, words: Sequence[int]) -> Any:
    """Prompt tuning: trained embeddings in front of every row, begun from those of `words`. https://arxiv.org/abs/2104.08691"""
    begin = model.get_input_embeddings()(torch.tensor(list(words), device=model.device)).detach()
    adapted = _adapted(model, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=len(words)), 0)
    with torch.no_grad():
        adapted.prompt_encoder[adapted.active_adapter].embedding.weight.copy_(begin)
    return adapted


def prefix(model: Any, words: Sequence[int]) -> Any:
    """Prefix tuning: trained keys and values in front of every row in every layer, begun from those of `words`.

    https://arxiv.org/abs/2101.00190, without its reparametrisation: from real keys and values training is stable.
    """
    begin = model.get_input_embeddings()(torch.tensor([list(words)], device=model.device))
    with torch.no_grad():
        found = virtual.read(model, begin)
    adapted = _adapted(model, PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=len(words)), 0)
    initialize_kv_prefix_from_past_key_values(adapted, past_key_values=found)
    return adapted


def save(model: Any, folder: Path) -> None:
    """Write what was put into the model and trained, without the base; of several processes the leading one does."""
    state = processes.state(model)
    folder.mkdir(parents=True, exist_ok=True)
    if not processes.leads():
        return
    if isinstance(model, PeftModel):
        model.save_pretrained(str(folder), state_dict=state)
    else:
        small_parts.save(model, folder, state)


def put(model: Any, folder: Path, merged: bool = True) -> Any:
    """The model with a saved adapter, merged into the weights where it can be and `merged` asks for it."""
    if (folder / small_parts.FILE).exists():
        return small_parts.put(model, folder)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        adapted: Any = PeftModel.from_pretrained(model, folder)
    if faults := [str(one.message) for one in said if "missing adapter keys" in str(one.message)]:
        raise ModelError(
            f"not all of the adapter is in its file: {faults[0]}", where=str(folder), remedy="Fit it again, or copy it whole."
        )
    return adapted.merge_and_unload() if merged and not virtual.size(adapted) else adapted


def is_four_bit(model: Any) -> bool:
    """Whether the model's weights are rounded to 4 bits."""
    return bool(getattr(model, "is_loaded_in_4bit", False))


def _adapted(model: Any, config: Any, seed: int) -> Any:
    torch.manual_seed(seed)
    try:
        with quiet():
            return get_peft_model(model, config)
    except ValueError as error:  # peft knows no layers of this architecture to put the adapter on
        kind = type(config).__name__.removesuffix("Config")
        raise ModelError(
            f"{kind} cannot be put on a {model.config.model_type!r}: {error}", remedy="Train another kind of adapter."
        ) from error
