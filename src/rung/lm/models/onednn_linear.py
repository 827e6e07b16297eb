"""Products with a layer's weights through oneDNN, where this machine was measured to do them faster so.

PyTorch gives float32 products on x86 to MKL, whatever the processor, and calls oneDNN, which it ships too, only in compiled
code. On an AMD EPYC oneDNN makes training, writing and embedding about a tenth faster (`benchmarks/products.py`). So layers are
made to call the operator that PyTorch's compiler calls; the numbers differ by rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import linear

from rung.machine import Machine

Product = Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor]
"""Rows (…, in), weights (out, in) and a bias (out,) or none, to (…, out)."""


def has_onednn() -> bool:
    """Whether this build of PyTorch has oneDNN's product, tried on two numbers: the operator may be there without its kernel."""
    if not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
        return False
    try:
        return float(onednn(torch.full((1, 1), 2.0), torch.full((1, 1), 3.0))) == 6.0
    except RuntimeError:
        return False


def onednn(rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """The product by oneDNN, of float32 on a processor; knows no gradient."""
    return torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None):
        ctx.save_for_backward(rows if weight.requires_grad else None, weight)
        return onednn(rows, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor):
        rows, weight = ctx.saved_tensors
        for_rows, for_weight, for_bias = ctx.needs_input_grad
        flat = grad.reshape(-1, grad.shape[-1])
        # with both sides transposed MKL is no slower
        return (
            onednn(grad, weight.t()) if for_rows else None,
            flat.t() @ rows.reshape(-1, rows.shape[-1]) if for_weight else None,
            flat.sum(0) if for_bias else None,
        )


class Quick(torch.nn.Linear):
    """A linear layer that computes by oneDNN."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        if not rows.dtype == self.weight.dtype == torch.float32 or torch.is_autocast_enabled("cpu"):
            return linear(rows, self.weight, self.bias)
        if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (rows, self.weight, self.bias)):
            return _Layer.apply(rows, self.weight, self.bias)
        return onednn(rows, self.weight, self.bias)


def quicken(model: Any, machine: Machine) -> None:
    """Have the plain linear layers of a model compute by oneDNN, where the machine is faster so."""
    if machine.onednn:
        for layer in model.modules():
            if type(layer) is torch.nn.Linear:
                layer.__class__ = Quick  # in place: who holds the layer holds it still, and its weights stay where they are


def of(layer: Any) -> Product:
    """The product that a linear layer computes by."""
    return onednn if type(layer) is Quick and layer.weight.dtype == torch.float32 else linear
