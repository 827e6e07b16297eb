"""A LoRA layer's forward and backward, with the additions fused into the matrix products.

peft computes `base(x) + B(A(x)) * scale` as five passes over memory; on a small model they cost about as much as the
low-rank products. Here `addmm` adds the scaled product inside the matrix product, forward and backward, and saves only x and
A(x). Equal up to rounding; the tests compare it with peft's own layer.

Beside bfloat16 layers, training also passes what lies between them in bfloat16: it is rounded on its way in anyway, and half as
much memory is read and written. Residuals, norms, the scores of attention, the trained A and B and their updates stay float32.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from peft.tuners.lora import Linear
from torch.nn.functional import linear

from rung.lm.models import frozen_linear, onednn_linear


class _LoraProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, layer: Any, a: torch.Tensor, b: torch.Tensor, scale: float):
        rows, (by, beside) = x.reshape(-1, x.shape[-1]), _products(layer, x.dtype)
        low = beside(rows, a, None)  # (rows, rank)
        out = by(rows, layer.weight, layer.bias)
        out.addmm_(low, b.t(), alpha=scale)
        ctx.save_for_backward(rows, low, layer.weight, a, b)
        ctx.by, ctx.beside, ctx.scale, ctx.shape = by, beside, scale, x.shape
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor):
        rows, low, weight, a, b = ctx.saved_tensors
        grad = grad.reshape(-1, grad.shape[-1])
        low_grad = ctx.beside(grad, b.t(), None).mul_(ctx.scale)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = ctx.by(grad, weight.t(), None).addmm_(low_grad, a).view(ctx.shape)
        # transposed, a narrow product takes two thirds of the time
        return grad_x, None, (rows.t() @ low_grad).t(), (grad.t() @ low).mul_(ctx.scale), None


def _products(layer: Any, dtype: torch.dtype) -> tuple[onednn_linear.Product, onednn_linear.Product]:
    """The product with a layer's own weights, and the one with the adapter's."""
    if type(layer) is frozen_linear.FrozenLinear:
        return frozen_linear.product, layer.beside if dtype == torch.float32 else linear
    by = onednn_linear.product_of(layer)
    return by, by


def fuse(model: Any) -> None:
    """Use the fused computation in every plain LoRA layer of a peft model; others (DoRA, dropout, biases) keep peft's."""
    for module in model.modules():
        if (
            type(module) is Linear
            and not module.lora_variant
            and type(module.base_layer) in (torch.nn.Linear, onednn_linear.OneDnnLinear, frozen_linear.FrozenLinear)
        ):
            module.forward = MethodType(_forward, module)  # type: ignore[method-assign]
    for block in model.modules():
        if hasattr(block, "input_layernorm") and _multiplies_bfloat16_alone(block):
            second = getattr(block, "pre_feedforward_layernorm", None) or getattr(block, "post_attention_layernorm", None)
            for norm in filter(None, (block.input_layernorm, second)):
                norm.register_forward_hook(_rounded_in_training)


def _multiplies_bfloat16_alone(block: Any) -> bool:
    """Whether all matrices of a block that are not trained are bfloat16 layers: experts of a mixture, for one, are not."""
    frozen = {id(one.weight) for one in block.modules() if type(one) is frozen_linear.FrozenLinear}
    return bool(frozen) and frozen == {id(one) for one in block.parameters() if one.dim() > 1 and not one.requires_grad}


def _rounded_in_training(norm: torch.nn.Module, _: Any, rows: torch.Tensor) -> torch.Tensor:
    """What a norm passes to several layers, rounded once: they, and what lies between them, then work in bfloat16."""
    return rows.to(torch.bfloat16) if norm.training else rows


def _forward(self: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    names = self.active_adapters
    plain = len(names) == 1 and names[0] in self.lora_A and not (self.disable_adapters or self.merged or args or kwargs)
    if not plain or isinstance(self.lora_dropout[names[0]], torch.nn.Dropout) or self.lora_bias[names[0]]:
        return Linear.forward(self, x, *args, **kwargs)
    if x.dtype != frozen_linear.dtype_of(self.base_layer) and type(self.base_layer) is not frozen_linear.FrozenLinear:
        return Linear.forward(self, x)
    # what is trained of A and B stays float32, so that small updates are not rounded away
    a, b = (part[names[0]].weight.to(x.dtype) for part in (self.lora_A, self.lora_B))
    return _LoraProduct.apply(x, self.base_layer, a, b, self.scaling[names[0]])
