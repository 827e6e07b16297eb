"""Small trained parts that peft has no adapter for: all biases, and bottleneck adapters; kept as tensors by name.

A tensor's name says where it belongs, so the file needs no description: `….bias` is a bias (given to a layer that had
none), `LAYER.bottleneck_in.weight` and its like an adapter behind that layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft.utils.constants import TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING as LAST_OF_FEEDFORWARD
from safetensors.torch import load_file, save_file
from torch import nn

from rung.errors import ModelError

FILE = "tensors.safetensors"


class Bottleneck(nn.Module):
    """A layer and, behind it, `x + out(relu(in(x)))` with a narrow middle; at first it changes nothing."""

    def __init__(self, layer: nn.Module, outer: int, inner: int):
        super().__init__()
        like: Any = next(layer.parameters())
        self.layer = layer
        self.bottleneck_in = nn.Linear(outer, inner, device=like.device, dtype=like.dtype)
        self.bottleneck_out = nn.Linear(inner, outer, device=like.device, dtype=like.dtype)
        nn.init.zeros_(self.bottleneck_out.weight)
        nn.init.zeros_(self.bottleneck_out.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = self.layer(x)
        return found + self.bottleneck_out(torch.relu(self.bottleneck_in(found)))


def bottleneck(model: Any, inner: int, seed: int) -> Any:
    """An adapter behind the feed-forward part of every block, all else frozen.

    Houlsby et al., https://arxiv.org/abs/1902.00751, with one adapter a block as https://arxiv.org/abs/2005.00247 found enough.
    """
    kind = model.config.get_text_config().model_type
    if kind not in LAST_OF_FEEDFORWARD:
        raise ModelError(
            f"where the feed-forward part of a {kind!r} ends is not known.",
            remedy=f"Known: {', '.join(sorted(LAST_OF_FEEDFORWARD))}; or train another kind of adapter.",
        )
    torch.manual_seed(seed)
    ends = tuple(f".{name}" for name in LAST_OF_FEEDFORWARD[kind])
    model.requires_grad_(False)
    for name, layer in [(n, m) for n, m in model.named_modules() if n.endswith(ends)]:
        model.set_submodule(name, Bottleneck(layer, model.config.get_text_config().hidden_size, inner))
    return model


def biases(model: Any) -> Any:
    """All biases trained, all else frozen. https://arxiv.org/abs/2106.10199

    A model that has none, such as a Llama, is given zero ones behind every linear layer but its output head.
    """
    if not any(name.endswith(".bias") for name, _ in model.named_parameters()):
        head = model.get_output_embeddings()
        for layer in [m for m in model.modules() if isinstance(m, nn.Linear) and m is not head]:
            _give_bias(layer)
        _tell_config(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name.endswith(".bias")
    return model


def save(model: Any, folder: Path, state: Mapping[str, torch.Tensor] | None = None) -> None:
    """Write the trained tensors, as `state` has them or else the model."""
    folder.mkdir(parents=True, exist_ok=True)
    found = state or {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    save_file({name: tensor.cpu().contiguous() for name, tensor in found.items()}, folder / FILE)


def put(model: Any, folder: Path) -> Any:
    """The model with saved tensors in their places."""
    tensors = load_file(folder / FILE)
    for name in tensors:
        place, _, kind = name.rpartition(".")
        if kind == "weight" and place.endswith(".bottleneck_in"):
            place = place.removesuffix(".bottleneck_in")
            inner, outer = tensors[name].shape
            model.set_submodule(place, Bottleneck(model.get_submodule(place), outer, inner))
    for name in tensors:
        layer = model.get_submodule(name.rpartition(".")[0])
        if name.endswith(".bias") and layer.bias is None:
            _give_bias(layer)
    _tell_config(model)
    _, strange = model.load_state_dict(tensors, strict=False)
    if strange:
        raise ModelError(
            f"the model has no {strange[0]!r}, which was trained.", where=str(folder), remedy="Fit it on this base again."
        )
    return model


def _give_bias(layer: Any) -> None:
    layer.bias = nn.Parameter(torch.zeros(layer.out_features, dtype=layer.weight.dtype, device=layer.weight.device))


def _tell_config(model: Any) -> None:
    """Configurations that have switches for biases (Llama) are told, so that weights saved whole open with them."""
    names = [name for name, _ in model.named_parameters() if name.endswith(".bias")]
    for switch, part in (("attention_bias", ".self_attn."), ("mlp_bias", ".mlp.")):
        if hasattr(model.config, switch) and any(part in name for name in names):
            setattr(model.config, switch, True)
