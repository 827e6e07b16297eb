"""Layers through oneDNN: the same numbers and gradients as PyTorch's own, and everything else left alone."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import linear

from rung.lm.models import adapters, onednn_linear
from rung.lm.models.load import load
from rung.lm.training.losses import sft
from rung.lm.trees.tree import Row
from rung.machine import Machine

pytestmark = pytest.mark.skipif(not onednn_linear.has_onednn(), reason="this build of PyTorch has no oneDNN product")


@pytest.fixture
def quick(machine: Machine) -> Machine:
    return replace(machine, onednn=True)


@pytest.mark.parametrize("bias", (True, False))
@pytest.mark.parametrize("shape", ((8,), (5, 8), (2, 5, 8), (0, 8)))
def test_a_layer_computes_what_it_did(quick: Machine, shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    plain = torch.nn.Linear(8, 3, bias)
    fast = copy.deepcopy(plain)
    onednn_linear.use_onednn(fast, quick)
    assert onednn_linear.product_of(fast) is onednn_linear.onednn and onednn_linear.product_of(plain) is linear
    grads = []
    for layer in (plain, fast):
        rows = torch.arange(torch.Size(shape).numel(), dtype=torch.float32).view(shape).requires_grad_()
        out = layer(rows)
        out.square().sum().backward()
        grads.append([out, rows.grad, *(p.grad for p in layer.parameters())])
        with torch.no_grad():
            assert torch.equal(layer(rows), out)
    for a, b in zip(*grads):
        torch.testing.assert_close(a, b)


def test_rows_that_lie_across_memory(quick: Machine) -> None:
    layer = torch.nn.Linear(8, 3)
    onednn_linear.use_onednn(layer, quick)
    rows = torch.randn(8, 5).t()
    torch.testing.assert_close(layer(rows), linear(rows, layer.weight, layer.bias))


def test_what_is_not_float32_is_left_to_pytorch(quick: Machine) -> None:
    layer = torch.nn.Linear(8, 3)
    onednn_linear.use_onednn(layer, quick)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.ones(2, 8)).dtype == torch.bfloat16
    assert layer.double()(torch.ones(2, 8, dtype=torch.float64)).dtype == torch.float64


def test_a_frozen_layer_keeps_no_rows(quick: Machine) -> None:
    layer = torch.nn.Linear(8, 3).requires_grad_(False)
    onednn_linear.use_onednn(layer, quick)
    kept: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        layer(torch.ones(5, 8, requires_grad=True))
    assert [tuple(tensor.shape) for tensor in kept] == [(3, 8)]


def test_a_model_is_let_go_of_at_once(quick: Machine) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(8, 3))
    onednn_linear.use_onednn(model, quick)
    seen = weakref.ref(model[0])
    gc.disable()
    try:
        del model
        assert seen() is None, "two models would stand in memory where one is to make room for the other"
    finally:
        gc.enable()


def test_an_operator_without_a_kernel_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any) -> torch.Tensor:
        raise NotImplementedError("Could not run 'mkldnn::_linear_pointwise' with arguments from the 'CPU' backend.")

    assert onednn_linear.has_onednn()
    monkeypatch.setattr(onednn_linear, "onednn", missing)
    assert not onednn_linear.has_onednn()


def test_a_machine_that_is_no_faster_changes_nothing(machine: Machine) -> None:
    layer = torch.nn.Linear(8, 3)
    onednn_linear.use_onednn(layer, machine)
    assert type(layer) is torch.nn.Linear


@pytest.mark.parametrize("lora", (True, False))
def test_a_model_trains_as_it_did(base: Callable[[str], Path], machine: Machine, quick: Machine, lora: bool) -> None:
    rows = [Row((1, 2, 3, last), (False, False, True, True)) for last in (4, 5)]
    found = []
    for one in (machine, quick):
        model = load(base("llama"), one).model
        if lora:
            model = adapters.lora(model, 4, 8, 0.0, 0)
            for name, p in model.named_parameters():
                if "lora_B" in name:
                    torch.nn.init.constant_(p, 0.01)
        sft(model, rows, True).backward()
        found.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    plain, fast = found
    assert plain.keys() == fast.keys() and plain
    for name in plain:
        torch.testing.assert_close(fast[name], plain[name], rtol=1e-4, atol=1e-5 * float(plain[name].abs().max()))
