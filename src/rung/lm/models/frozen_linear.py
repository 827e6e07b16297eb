"""Frozen linear layers in bfloat16, on CPUs where the probe measured that to be faster.

A frozen weight gets no updates, so none can be rounded away: it is stored once, in bfloat16. The rows are rounded on their way
in, and oneDNN sums in float32. Forward and the gradient of the rows are computed so; norms, residuals, attention, the output
head and the loss are not. PyTorch 2.13 has no such product with float32 results on a CPU (`mm` takes `out_dtype` on a GPU
alone, oneDNN's operators give the type they are given), so results are rounded once more, and widened where rows were float32.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch.nn.functional import linear

from rung.lm.models import onednn_linear


def product(rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """The product of rows (…, in) with bfloat16 weights (out, in), in the type of the rows."""
    return _widened(linear(rows.to(torch.bfloat16), weight), rows, bias)


def has_product() -> bool:
    """Whether this build of PyTorch multiplies bfloat16 on this CPU, both ways, tried on two numbers."""
    weight = torch.full((1, 1), 3.0, dtype=torch.bfloat16)
    try:
        return float(product(torch.full((1, 1), 2.0), weight)) == float(product(torch.full((1, 1), 2.0), weight.t())) == 6.0
    except RuntimeError:
        return False


def packed_product(rows: torch.Tensor, packed: Any, bias: torch.Tensor | None = None) -> torch.Tensor:
    """The same with weights that oneDNN has reordered."""
    return _widened(onednn_linear.onednn(rows.to(torch.bfloat16), packed), rows, bias)


def _widened(out: torch.Tensor, rows: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    out = out.to(rows.dtype)
    return out if bias is None else out.add_(bias)


@cache
def packs() -> bool:
    """Whether oneDNN reorders bfloat16 weights on this CPU and multiplies with them, tried on a few numbers."""
    rows, weight = torch.eye(32), torch.arange(32.0).repeat(32, 1).to(torch.bfloat16)
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, 32)
        return torch.equal(packed_product(rows, packed), product(rows, weight))
    except (AttributeError, RuntimeError):
        return False


class _FrozenProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None):
        ctx.save_for_backward(weight)
        return product(rows, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor):
        (weight,) = ctx.saved_tensors
        for_rows, _, for_bias = ctx.needs_input_grad
        return (
            product(grad, weight.t()) if for_rows else None,
            None,
            grad.reshape(-1, grad.shape[-1]).sum(0) if for_bias else None,
        )


class FrozenLinear(torch.nn.Linear):
    """A linear layer whose weight is bfloat16 and never trained; the bias is float32, and results have the type of the rows."""

    beside: onednn_linear.Product
    """The float32 product of adapters beside it."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled() and (rows.requires_grad or (self.bias is not None and self.bias.requires_grad)):
            return _FrozenProduct.apply(rows, self.weight, self.bias)
        return product(rows, self.weight, self.bias)


def freeze(model: Any) -> None:
    """Store the weights of a model's plain linear layers in bfloat16, all but those of its output head; the rest is float32.

    Weights that were float32 are dropped layer by layer.
    """
    head, kept = model.get_output_embeddings(), set()
    for layer in model.modules():
        if type(layer) in (torch.nn.Linear, onednn_linear.OneDnnLinear) and layer is not head:
            layer.beside = onednn_linear.onednn if type(layer) is onednn_linear.OneDnnLinear else linear
            layer.weight = torch.nn.Parameter(layer.weight.detach().to(torch.bfloat16), requires_grad=False)
            layer.__class__ = FrozenLinear  # in place, as in `onednn_linear.use_onednn`
            kept.add(layer.weight)
    for one in (*model.parameters(), *model.buffers()):
        if one.is_floating_point() and one not in kept:
            one.data = one.data.float()


def is_frozen(model: Any) -> bool:
    """Whether some of its layers are bfloat16."""
    return any(isinstance(layer, FrozenLinear) for layer in model.modules())


def dtype_of(layer: Any) -> torch.dtype:
    """The type of a layer's rows and results, and of what is trained beside it."""
    return torch.float32 if isinstance(layer, FrozenLinear) else next(layer.parameters()).dtype
