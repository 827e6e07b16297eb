"""Frozen layers in bfloat16: nearly the same numbers and gradients, half of the memory, and adapters that stay float32."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from slowly import slow_but

from rung.lm.engines import Engines
from rung.lm.inference import served
from rung.lm.models import adapters, frozen_linear, onednn_linear, own_adapters, serving
from rung.lm.models.load import _reads_as_bf16 as reads_as_bf16
from rung.lm.models.load import load
from rung.lm.training.losses import sft
from rung.lm.trees.tree import Row
from rung.machine import Machine
from rung.methods.base import Run
from rung.methods.lora import Lora
from rung.methods.peft import KINDS, Peft
from rung.predictor import Predictor
from rung.types import Example, TrainData

ROWS = [Row((1, 2, 3, 7, last), (False, False, False, True, True)) for last in (4, 5, 6)]
DATA = TrainData(tuple(Example(f"the parcel {i}", "late" if i % 2 else "refund") for i in range(8)), ("late", "refund"))


@pytest.fixture
def faster(machine: Machine) -> Machine:
    """A machine that was measured to be faster in bfloat16, and is asked for it."""
    return replace(machine, bf16_speedup=1.5).freezing(True)


def gradients(model: Any) -> dict[str, torch.Tensor]:
    for name, one in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(one, std=0.05, generator=torch.Generator().manual_seed(len(name)))
    sft(model.train(), ROWS, True).backward()
    return {name: one.grad for name, one in model.named_parameters() if one.grad is not None}


@pytest.mark.parametrize("onednn", (False, True) if onednn_linear.has_onednn() else (False,))
def test_gradients_of_adapters_are_nearly_those_of_float32(base: Callable[[str], Path], machine: Machine, onednn: bool) -> None:
    found = []
    for frozen in ("", "base"):
        loaded = load(base("llama"), replace(machine, onednn=onednn), frozen=frozen)
        assert loaded.trees and frozen_linear.is_frozen(loaded.model) == bool(frozen)
        found.append(gradients(adapters.lora(loaded.model, 4, 8, 0.0, 0)))
    exact, rounded = found
    assert exact.keys() == rounded.keys() and {one.dtype for one in rounded.values()} == {torch.float32}
    a, b = (torch.cat([one[name].flatten() for name in exact]) for one in found)
    assert torch.cosine_similarity(a, b, 0) > 0.999
    assert 0 < (a - b).norm() / a.norm() < 0.05


@pytest.mark.parametrize("kind", slow_but(["llama", "gemma3"], ["llama", "gemma3", "qwen2", "qwen3", "mistral"]))
def test_between_layers_training_is_in_bfloat16_and_answering_is_not(
    base: Callable[[str], Path], machine: Machine, kind: str
) -> None:
    """Residuals stay float32 in both."""
    model = adapters.lora(load(base(kind), machine, frozen="base").model, 4, 8, 0.0, 0)
    block = model.get_submodule("base_model.model.model.layers.0")
    losses, types = [], []
    for part in (block.input_layernorm, block.self_attn.o_proj, block.mlp.act_fn, block):
        part.register_forward_hook(lambda _, __, out: types.append(out.dtype))
    for training in (True, False):
        losses.append(sft(model.train(training), ROWS, True).item())
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    assert types == [torch.bfloat16] * 3 + [torch.float32] * 5


def test_blocks_with_other_matrices_stay_float32_between_layers(base: Callable[[str], Path], machine: Machine) -> None:
    model = load(base("llama"), machine, frozen="base").model
    model.model.layers[0].mlp.experts = torch.nn.Parameter(torch.zeros(2, 3, 4), requires_grad=False)
    adapted = adapters.lora(model, 4, 8, 0.0, 0)
    blocks = adapted.get_submodule("base_model.model.model.layers")
    assert [len(block.input_layernorm._forward_hooks) for block in blocks] == [0] + [1] * (len(blocks) - 1)


@pytest.mark.parametrize("bias", (True, False))
def test_a_layer_passes_gradients_through(bias: bool) -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(64, 32, bias)
    exact = layer.weight.detach().to(torch.bfloat16).float()
    model = torch.nn.Sequential(layer)
    model.get_output_embeddings = lambda: None  # type: ignore[method-assign, assignment]
    frozen_linear.freeze(model)
    assert not layer.weight.requires_grad and layer.weight.dtype == torch.bfloat16
    rows = torch.randn(2, 5, 64).to(torch.bfloat16).float().requires_grad_()
    layer(rows).sum().backward()
    torch.testing.assert_close(rows.grad, exact.sum(0).expand_as(rows), rtol=0.01, atol=0.01)
    torch.testing.assert_close(layer(rows), torch.nn.functional.linear(rows, exact, layer.bias), rtol=0.01, atol=0.02)
    if bias:
        assert layer.bias.grad.dtype == torch.float32 and torch.equal(layer.bias.grad, torch.full((32,), 10.0))


def test_weights_take_half_and_the_rest_is_as_it_was(base: Callable[[str], Path], machine: Machine) -> None:
    exact, rounded = (load(base("llama"), machine, frozen=frozen).model for frozen in ("", "base"))
    head = exact.get_output_embeddings()
    layers = {name for name, one in exact.named_modules() if isinstance(one, torch.nn.Linear) and one is not head}
    sizes = []
    for model in (exact, rounded):
        sizes.append(sum(model.get_submodule(name).weight.untyped_storage().nbytes() for name in layers))
    assert layers and sizes[1] == sizes[0] / 2
    for name, one in exact.named_parameters():
        other = rounded.get_parameter(name)
        if name.removesuffix(".weight") in layers:
            assert torch.equal(other, one.to(torch.bfloat16))
        else:
            assert torch.equal(other, one), name


@pytest.mark.parametrize("kind", ("llama", "gemma3"))
def test_weights_stored_in_bfloat16_are_read_as_they_are(
    base: Callable[[str], Path], machine: Machine, tmp_path: Path, kind: str
) -> None:
    """Gemma 3 computes a scale in the type that it is loaded in."""
    folder = tmp_path / "half"
    shutil.copytree(base(kind), folder)
    load(base(kind), machine).model.to(torch.bfloat16).save_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["dtype"] == "bfloat16"
    assert reads_as_bf16(folder) == (kind == "llama")
    wide = load(folder, machine).model
    frozen_linear.freeze(wide)
    read = load(folder, machine, frozen="base").model
    for name, one in wide.named_parameters():
        assert torch.equal(read.get_parameter(name), one) and read.get_parameter(name).dtype == one.dtype, name
    assert all(torch.equal(a, b) for a, b in zip(wide.buffers(), read.buffers(), strict=True))
    with torch.no_grad():
        assert torch.equal(sft(wide, ROWS, True), sft(read, ROWS, True))
    shutil.copyfile(base(kind) / "model.safetensors", folder / "model.safetensors")
    assert not reads_as_bf16(folder), "the configuration is not believed"


def test_small_steps_are_not_rounded_away(base: Callable[[str], Path], machine: Machine) -> None:
    model = adapters.lora(load(base("llama"), machine, frozen="base").model, 4, 8, 0.0, 0)
    trained = [one for one in model.parameters() if one.requires_grad]
    assert {one.dtype for one in trained} == {torch.float32}
    optimizer = torch.optim.AdamW(trained, lr=1e-6, weight_decay=0.0)
    gradients(model)
    before = [one.detach().clone() for one in trained]
    optimizer.step()
    for one, old in zip(trained, before, strict=True):
        assert 0 < float((one.detach() - old).abs().max()) < 2e-6


def fitted(method: Any, base: Path, machine: Machine, folder: Path) -> tuple[Predictor, dict]:
    folder.mkdir()
    engines = Engines(machine, say=lambda text: None)
    start = Predictor(kind="classify", model=engines.reference(str(base)), instruction="?", labels=DATA.labels)
    run = Run(folder, engines)
    return method.fit(start, DATA, run), run.notes


def confidences(found: Predictor, machine: Machine, serving: bool = False) -> list[float]:
    engines = Engines(machine, say=lambda text: None, serving=serving)
    return [one.confidence for one in found.predict(DATA.examples, engines)]


@pytest.mark.parametrize("kind", slow_but(["lora", "bottleneck"], ["lora", *KINDS]))
def test_what_is_trained_beside_them_answers_beside_them(
    base: Callable[[str], Path], machine: Machine, faster: Machine, tmp_path: Path, kind: str
) -> None:
    common: dict[str, Any] = {"epochs": 2, "batch": 4, "learning_rate": 0.02}
    method: Any = Lora(rank=2, **common) if kind == "lora" else Peft(kind=kind, size=4, **common)  # type: ignore[arg-type]
    exact, plain = fitted(method, base("llama"), machine, tmp_path / "exact")
    rounded, notes = fitted(method, base("llama"), faster, tmp_path / "rounded")
    assert (exact.model.precision, rounded.model.precision) == ("", "bfloat16")
    assert (plain["precision"], notes["precision"]) == ("float32", "bfloat16")
    assert rounded.digest != exact.digest
    files = Path(rounded.model.files)
    assert {one.dtype for path in files.glob("*.safetensors") for one in load_file(path).values()} == {torch.float32}
    beside, merged = confidences(rounded, faster), confidences(rounded, machine)
    assert beside != merged, "on a machine without the hardware the same adapter is merged into float32 weights"
    assert beside == pytest.approx(merged, abs=0.05) and merged == pytest.approx(confidences(exact, machine), abs=0.1)


def test_a_magnitude_is_trained_beside_exact_weights(base: Callable[[str], Path], faster: Machine, tmp_path: Path) -> None:
    method = Lora(rank=2, epochs=1, decomposed=True)
    found, notes = fitted(method, base("llama"), faster, tmp_path / "dora")
    assert not method.freezes and not found.model.precision and notes["precision"] == "float32"


def test_a_second_fit_stands_on_the_first_merged_in_float32(base: Callable[[str], Path], faster: Machine, tmp_path: Path) -> None:
    found, _ = fitted(Lora(rank=2, epochs=1), base("llama"), faster, tmp_path / "first")
    engines, folder = Engines(faster, say=lambda text: None), tmp_path / "second"
    folder.mkdir()
    twice = Lora(rank=2, epochs=1).fit(found, DATA, Run(folder, engines))
    below = load(base("llama"), faster, found.model.files)
    frozen_linear.freeze(below.model)
    beside = load(base("llama"), faster, twice.model.files, frozen="below").model
    layer = "model.layers.0.self_attn.q_proj"
    wrapped = beside.get_submodule(f"base_model.model.{layer}")
    assert torch.equal(wrapped.base_layer.weight, below.model.get_submodule(layer).weight)
    assert wrapped.lora_A["default"].weight.dtype == torch.float32


def test_a_server_has_one_base_in_bfloat16(
    base: Callable[[str], Path], machine: Machine, faster: Machine, tmp_path: Path
) -> None:
    found, _ = fitted(Lora(rank=2, epochs=2, learning_rate=0.02), base("llama"), faster, tmp_path / "fit")
    assert confidences(found, faster, serving=True) == pytest.approx(confidences(found, faster), abs=1e-3)
    bases = served.Bases()
    opened = [
        served.opened(base("llama"), "d", replace(found.model, **changed), at, print, bases)
        for changed, at in (
            ({}, faster),
            ({"files": ""}, faster),
            ({"files": "", "precision": ""}, faster),
            ({"files": ""}, machine),
        )
    ]
    assert sorted(bases) == ["d", "dbfloat16"] and opened[0].base is opened[1] and opened[2] is opened[3]
    layers = {name: one for name, one in opened[1].loaded.model.named_modules() if isinstance(one, serving.ServedLinear)}
    assert {one.weight.dtype for name, one in layers.items() if name != "lm_head"} == {torch.bfloat16}


def test_packed_weights_are_tried_before_they_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any) -> torch.Tensor:
        raise RuntimeError("mkldnn_reorder_linear_weight: bf16 path needs the cpu support avx_ne_convert or avx512bw")

    monkeypatch.setattr(frozen_linear, "packed_product", missing)
    frozen_linear.packs.cache_clear()
    assert not frozen_linear.packs()
    monkeypatch.setattr(torch.ops.mkldnn, "_reorder_linear_weight", lambda weight, rows: weight, raising=False)
    monkeypatch.setattr(frozen_linear, "packed_product", frozen_linear.product)
    frozen_linear.packs.cache_clear()
    assert frozen_linear.packs()
    frozen_linear.packs.cache_clear()


def test_a_product_that_this_build_lacks_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any) -> torch.Tensor:
        raise RuntimeError("could not create a primitive descriptor for the matmul primitive")

    assert frozen_linear.has_product()
    monkeypatch.setattr(frozen_linear, "linear", missing)
    assert not frozen_linear.has_product()


def test_biases_and_bottlenecks_beside_them_are_float32(base: Callable[[str], Path], machine: Machine) -> None:
    for adapt in (own_adapters.biases, lambda model: own_adapters.bottleneck(model, 2, 0)):
        model = adapt(load(base("llama"), machine, frozen="base").model)
        assert {one.dtype for one in model.parameters() if one.requires_grad} == {torch.float32}
