"""What a fitted rung's weights are, as one plain model: the base with everything that was fitted on it, in float32."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from rung.errors import ModelError
from rung.lm.models import adapters, fits, opening, own_adapters, weights
from rung.lm.models import load as loading
from rung.lm.models.chat import Chat, name_ends, tokenizer
from rung.lm.quiet import quiet

DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Merged:
    """A plain model of transformers with its chat."""

    model: Any
    chat: Chat
    adapters: int
    """How many adapters were merged into it."""
    changed: int
    """Tensors that merging changed."""


def merged(base: Path, files: str, kind: str = "f32") -> Merged:
    """The model of `base` with the fits in `files` merged in, float32 on the CPU.

    `kind`: the type that it will be written in. ModelError where something cannot be merged, or where merging changes nothing
    that this type can hold.
    """
    folder, fitted = fits.split(base, files)
    if four := [one for one in fitted if fits.is_four_bit(one)]:
        raise ModelError(
            "the adapter was trained beside 4-bit weights; merged into the full ones it would answer otherwise.",
            where=str(four[0]),
            remedy="Export it as an adapter: --to hf --adapter.",
        )
    with quiet():
        with opening.model_errors(folder):
            chat = Chat(tokenizer(folder))
        model = opening.load_strict(AutoModelForCausalLM, folder, dtype=torch.float32).eval()
        before = _digests(model, DTYPES[kind]) if fitted else {}
        for adapter in fitted:
            model = adapters.restore(model, adapter)
    if not loading.saves_completely(model):
        raise ModelError(
            "what was fitted stands beside the weights (virtual tokens, or layers of its own) and cannot be merged into them.",
            where=str(fitted[-1]),
            remedy="Export it as an adapter: --to hf --adapter; or fit a rung that can be merged.",
        )
    changed = sum(before.get(name) != found for name, found in _digests(model, DTYPES[kind]).items()) if fitted else 0
    if fitted and not changed:
        raise ModelError(
            f"merging the adapter changes no weight of the model in {kind}, so the export would be the base.",
            where=str(fitted[-1]),
            remedy="The adapter learnt nothing, or too little for this type: fit it again, or take another --kind.",
        )
    name_ends(model, chat)
    return Merged(model, chat, len(fitted), changed)


def adapter_of(base: Path, files: str) -> tuple[Path, Path]:
    """The base's folder and that of the one adapter on it, in the form of peft. ModelError where there is no such adapter."""
    folder, fitted = fits.split(base, files)
    if not fitted:
        raise ModelError("this rung has no adapter.", remedy="Leave --adapter out.")
    if len(fitted) > 1 or folder != base:
        raise ModelError(
            "its adapter stands on what an earlier method fitted, so the base and this adapter alone are another model.",
            where=str(fitted[-1]),
            remedy="Leave --adapter out: the merged weights hold both.",
        )
    if (fitted[0] / own_adapters.FILE).exists():
        raise ModelError(
            "peft has no adapter of this kind, so no other program could load it.",
            where=str(fitted[0]),
            remedy="Leave --adapter out.",
        )
    _refuse_idle(fitted[0])
    return folder, fitted[0]


def bytes_of(base: Path, files: str) -> int:
    """Bytes of the weights as float32; only the heads of files are read."""
    from math import prod

    return 4 * sum(prod(shape) for shape in weights.shapes(fits.split(base, files)[0]).values())


def _refuse_idle(adapter: Path) -> None:
    """ModelError for a LoRA adapter whose second factors are all zero, so that it adds nothing."""
    from safetensors.torch import load_file

    if json.loads((adapter / weights.ADAPTER_CONFIG).read_text(encoding="utf-8")).get("peft_type") != "LORA":
        return
    factors = [tensor for name, tensor in load_file(adapter / weights.ADAPTER).items() if "lora_B" in name]
    if factors and not any(bool(factor.any()) for factor in factors):
        raise ModelError("the adapter adds nothing to the base.", where=str(adapter), remedy="It learnt nothing: fit it again.")


def _digests(model: Any, dtype: torch.dtype) -> dict[str, str]:
    """A digest of every tensor as it will be written."""
    return {
        name: hashlib.sha256(tensor.detach().to(dtype).contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()
        for name, tensor in model.state_dict().items()
    }
