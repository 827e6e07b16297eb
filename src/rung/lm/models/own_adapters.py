"""Adapters that peft does not have: BitFit (all biases) and bottleneck adapters, stored as named tensors.

Tensor names say where each belongs, so the file needs no configuration: `….bias` is a bias (also of a layer that had none),
`LAYER.bottleneck_in.weight` and the like belong to an adapter after that layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft.utils.constants import TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING as LAST_OF_FEEDFORWARD
from safetensors.torch import load_file, save_file
from torch import nn

from rung import files
from rung.errors import ModelError
from rung.lm.models import frozen_linear

FILE = "tensors.safetensors"


class Bottleneck(nn.Module):
    """A layer followed by `x + out(relu(in(x)))` with a narrow hidden layer; initialized to the identity."""

    def __init__(self, layer: nn.Module, outer: int, inner: int):
        super().__init__()
        like: Any = {"device": next(layer.parameters()).device, "dtype": frozen_linear.dtype_of(layer)}
        self.layer = layer
        self.bottleneck_in = nn.Linear(outer, inner, **like)
        self.bottleneck_out = nn.Linear(inner, outer, **like)
        nn.init.zeros_(self.bottleneck_out.weight)
        nn.init.zeros_(self.bottleneck_out.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.layer(x)
        return out + self.bottleneck_out(torch.relu(self.bottleneck_in(out)))


def bottleneck(model: Any, inner: int, seed: int) -> Any:
    """An adapter after the feed-forward layer of every block, all else frozen.

    Houlsby et al., https://arxiv.org/abs/1902.00751, with one adapter per block (enough: https://arxiv.org/abs/2005.00247).
    """
    kind = model.config.get_text_config().model_type
    if kind not in LAST_OF_FEEDFORWARD:
        raise ModelError(
            f"bottleneck adapters do not support a {kind!r}.",
            remedy=f"Choose another adapter, or one of these architectures: {', '.join(sorted(LAST_OF_FEEDFORWARD))}.",
        )
    torch.manual_seed(seed)
    ends = tuple(f".{name}" for name in LAST_OF_FEEDFORWARD[kind])
    model.requires_grad_(False)
    for name, layer in [(n, m) for n, m in model.named_modules() if n.endswith(ends)]:
        model.set_submodule(name, Bottleneck(layer, model.config.get_text_config().hidden_size, inner))
    return model


def biases(model: Any) -> Any:
    """BitFit: all biases trained, all else frozen. https://arxiv.org/abs/2106.10199

    A model without biases, such as a Llama, gets zero biases in every linear layer but its output head.
    """
    if not any(name.endswith(".bias") for name, _ in model.named_parameters()):
        head = model.get_output_embeddings()
        for layer in [m for m in model.modules() if isinstance(m, nn.Linear) and m is not head]:
            _add_bias(layer)
        _update_config(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name.endswith(".bias")
    return model


def save(model: Any, folder: Path, state: Mapping[str, torch.Tensor] | None = None) -> None:
    """Write the trained tensors, from `state` if given, else from the model."""
    tensors = state or {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    with files.whole(folder / FILE) as part:
        save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, part)


def restore(model: Any, folder: Path) -> Any:
    """The model with its saved tensors."""
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
            _add_bias(layer)
    _update_config(model)
    _, unexpected = model.load_state_dict(tensors, strict=False)
    if unexpected:
        raise ModelError(
            f"the model has no {unexpected[0]!r}, which was trained.", where=str(folder), remedy="Fit it on this base again."
        )
    return model


def _add_bias(layer: Any) -> None:
    layer.bias = nn.Parameter(torch.zeros(layer.out_features, dtype=frozen_linear.dtype_of(layer), device=layer.weight.device))


def _update_config(model: Any) -> None:
    """Set the switches for biases that some configurations have (Llama), so that full weights load with their biases."""
    names = [name for name, _ in model.named_parameters() if name.endswith(".bias")]
    for switch, part in (("attention_bias", ".self_attn."), ("mlp_bias", ".mlp.")):
        if hasattr(model.config, switch) and any(part in name for name in names):
            setattr(model.config, switch, True)
