"""Linear layers computed by oneDNN, on machines where the probe measured that to be faster.

PyTorch computes float32 matrix products on x86 with MKL, whatever the CPU, and uses oneDNN, which it also ships, only in
compiled code. On an AMD EPYC oneDNN makes training, generation and embedding about a tenth faster (`benchmarks/products.py`).
So layers call the operator that PyTorch's compiler calls; results differ by rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import linear

from rung.machine import Machine

Product = Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor]
"""From rows (…, in), weights (out, in) and a bias (out,) or None to (…, out)."""


def has_onednn() -> bool:
    """Whether oneDNN's product works in this build of PyTorch, tried on two numbers: the operator can exist without a kernel."""
    if not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
        return False
    try:
        return float(onednn(torch.full((1, 1), 2.0), torch.full((1, 1), 3.0))) == 6.0
    except RuntimeError:
        return False


def onednn(rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """The float32 product by oneDNN on a CPU; not differentiable."""
    return torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")


class _OneDnnProduct(torch.autograd.Function):
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


class OneDnnLinear(torch.nn.Linear):
    """A linear layer computed by oneDNN."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        if not rows.dtype == self.weight.dtype == torch.float32 or torch.is_autocast_enabled("cpu"):
            return linear(rows, self.weight, self.bias)
        if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (rows, self.weight, self.bias)):
            return _OneDnnProduct.apply(rows, self.weight, self.bias)
        return onednn(rows, self.weight, self.bias)


def use_onednn(model: Any, machine: Machine) -> None:
    """Compute a model's plain linear layers by oneDNN if `machine.onednn`."""
    if machine.onednn:
        for layer in model.modules():
            if type(layer) is torch.nn.Linear:
                layer.__class__ = OneDnnLinear  # in place: references to the layer and its weights stay valid


def product_of(layer: Any) -> Product:
    """The product function of a linear layer."""
    return onednn if type(layer) is OneDnnLinear and layer.weight.dtype == torch.float32 else linear
