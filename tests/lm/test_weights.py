"""Weights that are not whole, or more than the model: names of wrappers, missing and left-over tensors, adapters, two sets."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from rung.errors import ModelError
from rung.lm.inference.embed import Embedder
from rung.lm.inference.rerank import Reranker
from rung.lm.models import resolve, weights
from rung.lm.models.load import load
from rung.lm.training import classifier
from rung.machine import Machine

IDS = torch.tensor([[5, 6, 7, 8]])


@pytest.fixture(autouse=True)
def alone(home: Path) -> None:
    """A cache of one's own and no hub."""


@pytest.fixture
def copy(base: Callable[[str], Path], tmp_path: Path) -> Callable[..., Path]:
    """A copy of a tiny model's folder, its tensors changed by a function."""

    def made(kind: str = "llama", change: Callable[[dict], dict] = lambda tensors: tensors) -> Path:
        folder = shutil.copytree(base(kind), tmp_path / f"copy-{kind}")
        file = folder / "model.safetensors"
        save_file(change(load_file(file)), file, metadata={"format": "pt"})
        return folder

    return made


def found(folder: Path) -> Path:
    return resolve.find(str(folder), say=lambda text: None).folder


def logits(folder: Path, machine: Machine) -> torch.Tensor:
    model = load(found(folder), machine).model
    model.set_attn_implementation("sdpa")
    return model(IDS).logits


def config(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def renamed(change: Callable[[str], str]) -> Callable[[dict], dict]:
    return lambda tensors: {change(name): tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize(
    "change",
    [
        lambda name: f"_orig_mod.{name}",
        lambda name: f"module.{name}",
        lambda name: f"_fsdp_wrapped_module.{name}",
        lambda name: f"module._orig_mod.{name}",
        lambda name: f"_orig_mod.module.{name}",
        lambda name: f"_fsdp_wrapped_module._orig_mod.module.{name}",
        lambda name: name.replace("layers.0.", "layers.0._fsdp_wrapped_module._checkpoint_wrapped_module."),
        lambda name: "_fsdp_wrapped_module." + name.replace(".mlp.", "._fsdp_wrapped_module.mlp."),
        lambda name: name.replace("model.", "model._orig_mod.", 1),
        lambda name: f"_forward_module.module.{name}",
    ],
)
def test_names_of_wrappers_come_off(
    change: Callable[[str], str], copy: Callable, base: Callable[[str], Path], machine: Machine
) -> None:
    folder = copy(change=renamed(change))
    assert torch.equal(logits(folder, machine), logits(base("llama"), machine))
    assert resolve.parameters(folder) == resolve.parameters(base("llama"))
    assert resolve.find(str(folder)).digest == resolve.find(str(folder)).digest


def test_a_wrapped_model_in_shards(copy: Callable, base: Callable[[str], Path], machine: Machine) -> None:
    folder = copy(change=renamed(lambda name: f"_orig_mod.{name}"))
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    placed = {}
    for number, part in enumerate((list(tensors)[:9], list(tensors)[9:])):
        placed |= dict.fromkeys(part, f"model-{number}.safetensors")
        save_file({name: tensors[name] for name in part}, folder / f"model-{number}.safetensors")
    (folder / weights.INDEX).write_text(json.dumps({"metadata": {}, "weight_map": placed}))
    assert torch.equal(logits(folder, machine), logits(base("llama"), machine))


def test_two_tensors_with_one_name_are_refused(copy: Callable) -> None:
    folder = copy(change=lambda tensors: tensors | {f"_orig_mod.{name}": t.clone() for name, t in tensors.items()})
    with pytest.raises(ModelError, match="two of its tensors have the same name"):
        found(folder)


def without(part: str) -> Callable[[dict], dict]:
    return lambda tensors: {name: tensor for name, tensor in tensors.items() if part not in name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("layers.1."), r"missing: model\.layers\.1\..* and 5 more"),
        (without("lm_head"), r"missing: lm_head\.weight"),
        (without("model.norm.weight"), r"missing: model\.norm\.weight"),
        (renamed(lambda name: f"wrapped.{name}"), r"missing: lm_head.*left over: wrapped\."),
        (lambda tensors: tensors | {"score.weight": torch.zeros(2, 32)}, r"left over: score\.weight"),
        (lambda tensors: tensors | {"model.norm.weight": torch.ones(31)}, r"norm\.weight \(31, config\.json states 32\)"),
    ],
)
def test_what_is_missing_or_left_over_is_named(
    change: Callable[[dict], dict], message: str, copy: Callable, machine: Machine
) -> None:
    folder = copy(change=change)
    with pytest.raises(ModelError, match=message) as raised:
        logits(folder, machine)
    assert str(folder) in str(raised.value)


@pytest.mark.parametrize(("layers", "message"), [(3, r"missing: model\.layers\.2\."), (1, r"left over: model\.layers\.1\.")])
def test_a_configuration_with_other_layers_than_the_file(layers: int, message: str, copy: Callable, machine: Machine) -> None:
    folder = copy()
    config(folder, num_hidden_layers=layers)
    with pytest.raises(ModelError, match=message):
        logits(folder, machine)


def test_tied_weights_and_computed_buffers_may_differ(copy: Callable, machine: Machine) -> None:
    def change(tensors: dict) -> dict:
        del tensors["lm_head.weight"]
        buffers = {f"model.layers.{n}.self_attn.rotary_emb.inv_freq": torch.zeros(4) for n in range(2)}
        return tensors | buffers | {"model.embeddings.position_ids": torch.arange(4)}

    folder = copy(change=change)
    config(folder, tie_word_embeddings=True)
    assert logits(folder, machine).shape == (1, 4, 300)


def test_masks_kept_by_old_gpt2_checkpoints_are_no_weights(copy: Callable, base: Callable[[str], Path], machine: Machine) -> None:
    masks = {f"transformer.h.{n}.attn.bias": torch.ones(1, 1, 8, 8, dtype=torch.uint8) for n in range(2)}
    folder = copy("gpt2", change=lambda tensors: tensors | masks)
    assert torch.equal(logits(folder, machine), logits(base("gpt2"), machine))


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "mistral", "gemma3", "gpt2", "bloom", "mamba"])
def test_whole_models_of_every_architecture_open(kind: str, base: Callable[[str], Path], machine: Machine) -> None:
    assert load(found(base(kind)), machine).model is not None


def test_a_classifier_is_no_base(copy: Callable, tmp_path: Path, machine: Machine) -> None:
    from transformers import AutoConfig, AutoModelForSequenceClassification

    folder = copy()
    for tied in (True, False):  # where they are tied no head is missing, and only the classifier's own is left over
        whole = AutoConfig.from_pretrained(folder, num_labels=3, tie_word_embeddings=tied)
        AutoModelForSequenceClassification.from_config(whole).save_pretrained(folder)
        with pytest.raises(ModelError, match=r"they are of a LlamaForSequenceClassification.*left over: score\.weight"):
            logits(folder, machine)


def test_a_model_that_fills_gaps_is_no_base(tmp_path: Path, base: Callable[[str], Path], machine: Machine) -> None:
    from transformers import BertConfig, BertForMaskedLM

    folder = shutil.copytree(base("llama"), tmp_path / "bert")
    small = BertConfig(vocab_size=300, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    BertForMaskedLM(small).save_pretrained(folder)
    with pytest.raises(ModelError, match="BertForMaskedLM is a masked"):
        logits(folder, machine)


@pytest.mark.parametrize("damage", ["cut", "text", "empty"])
def test_damaged_files_are_named(damage: str, copy: Callable) -> None:
    file = copy() / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes({"cut": whole[: len(whole) // 2], "text": b"version https://git-lfs.github.com", "empty": b""}[damage])
    with pytest.raises(ModelError, match=r"model\.safetensors: truncated"):
        found(file.parent)


# Adapters


@pytest.fixture
def adapter(base: Callable[[str], Path], tmp_path: Path) -> Path:
    """A LoRA adapter that changes the model's answers."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base("llama"))
    adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", init_lora_weights=False))
    adapted.save_pretrained(str(tmp_path / "adapter"))
    return tmp_path / "adapter"


def test_an_adapter_beside_merged_weights_is_not_added_again(
    adapter: Path, copy: Callable, base: Callable[[str], Path], machine: Machine
) -> None:
    folder = copy()
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(adapter / file, folder / file)
    assert torch.equal(logits(folder, machine), logits(base("llama"), machine))
    assert resolve.parameters(folder) == resolve.parameters(base("llama"))
    assert not (found(folder) / "adapter_config.json").exists()
    assert (folder / "adapter_config.json").exists()  # the user's folder is left as it is


@pytest.mark.parametrize("configured", [False, True])
def test_an_adapter_alone_names_its_base(configured: bool, adapter: Path, base: Callable[[str], Path]) -> None:
    if configured:
        shutil.copy(base("llama") / "config.json", adapter)
    with pytest.raises(ModelError, match=f"only the adapter of '{base('llama')}'.*[Mm]erge"):
        found(adapter)


def test_an_encoders_adapter_is_not_added_again(adapter: Path, encoder: Path, tmp_path: Path, machine: Machine) -> None:
    folder = shutil.copytree(encoder, tmp_path / "encoder")
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(adapter / file, folder / file)
    assert np.array_equal(Embedder(found(folder), machine).embed(["a"]), Embedder(encoder, machine).embed(["a"]))


# Two sets in one folder


def test_a_second_set_of_weights_is_not_counted(copy: Callable, base: Callable[[str], Path], machine: Machine) -> None:
    folder = copy()
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors, folder / "consolidated.safetensors")
    save_file(tensors, folder / "model-00001-of-00001.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(tensors, "model-00001-of-00001.safetensors")}
    (folder / weights.INDEX).write_text(json.dumps(index))
    assert resolve.parameters(folder) == resolve.parameters(base("llama"))
    assert torch.equal(logits(folder, machine), logits(base("llama"), machine))
    (folder / "model.safetensors").unlink()
    assert resolve.parameters(folder) == resolve.parameters(base("llama"))
    assert torch.equal(logits(folder, machine), logits(base("llama"), machine))


def test_weights_under_a_name_that_no_library_reads(copy: Callable) -> None:
    folder = copy()
    (folder / "model.safetensors").rename(folder / "weights.safetensors")
    with pytest.raises(ModelError, match=r"neither model\.safetensors nor"):
        found(folder)


# Encoders, classifiers, rerankers


@pytest.fixture
def small(encoder: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the tiny sentence encoder, its tensors changed."""

    def made(change: Callable[[dict], dict]) -> Path:
        folder = shutil.copytree(encoder, tmp_path / "encoder")
        file = folder / "model.safetensors"
        save_file(change(load_file(file)), file, metadata={"format": "pt"})
        return folder

    return made


def test_a_wrapped_encoder_gives_the_same_vectors(small: Callable, encoder: Path, machine: Machine) -> None:
    folder = small(renamed(lambda name: f"module.{name}"))
    texts = ["abc", "xyz"]
    assert np.array_equal(Embedder(found(folder), machine).embed(texts), Embedder(encoder, machine).embed(texts))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("attention"), r"missing: (bert\.)?encoder\.layer\.0\.attention"),
        (renamed(lambda name: f"wrapped.{name}"), r"missing: (bert\.)?embeddings"),
        (lambda t: t | {"encoder.layer.1.output.dense.bias": torch.zeros(32)}, r"left over: (bert\.)?encoder\.layer\.1\.output"),
    ],
)
def test_an_encoder_that_is_not_whole(change: Callable[[dict], dict], message: str, small: Callable, machine: Machine) -> None:
    folder = small(change)
    with pytest.raises(ModelError, match=message):
        Embedder(found(folder), machine)
    with pytest.raises(ModelError, match=message):
        classifier.with_new_head(folder, ["a", "b"], machine, 0)


def test_an_encoder_may_lack_its_pooler_and_bring_a_head(small: Callable, encoder: Path, machine: Machine) -> None:
    def change(tensors: dict) -> dict:
        kept = {f"bert.{name}": tensor for name, tensor in tensors.items() if "pooler" not in name}
        return kept | {"cls.predictions.bias": torch.zeros(9), "bert.embeddings.position_ids": torch.arange(64)[None]}

    folder = small(change)
    assert np.array_equal(Embedder(found(folder), machine).embed(["abc"]), Embedder(encoder, machine).embed(["abc"]))
    assert classifier.with_new_head(folder, ["a", "b"], machine, 0).model.config.num_labels == 2


def test_a_new_head_takes_the_place_of_one_for_other_labels(small: Callable, machine: Machine, tmp_path: Path) -> None:
    folder = small(lambda tensors: tensors)
    classifier.save(classifier.with_new_head(folder, ["a", "b", "c"], machine, 0), tmp_path / "three")
    assert classifier.with_new_head(tmp_path / "three", ["a", "b"], machine, 0).model.config.num_labels == 2


def test_a_classifier_without_its_head_is_refused(small: Callable, machine: Machine, tmp_path: Path) -> None:
    classifier.save(classifier.with_new_head(small(lambda tensors: tensors), ["a", "b"], machine, 0), tmp_path / "saved")
    classifier.load(tmp_path / "saved", machine)
    file = tmp_path / "saved" / "model.safetensors"
    save_file(without("classifier")(load_file(file)), file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"missing: classifier\.bias, classifier\.weight"):
        classifier.load(tmp_path / "saved", machine)


def test_a_reranker_needs_its_head(small: Callable, machine: Machine, tmp_path: Path) -> None:
    classifier.save(classifier.with_new_head(small(lambda tensors: tensors), ["score"], machine, 0), tmp_path / "ranker")
    Reranker(tmp_path / "ranker", machine)
    file = tmp_path / "ranker" / "model.safetensors"
    save_file(without("classifier")(load_file(file)), file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"missing: classifier\.bias, classifier\.weight"):
        Reranker(tmp_path / "ranker", machine)


def test_an_adapter_that_lost_tensors_is_refused(adapter: Path, base: Callable[[str], Path], machine: Machine) -> None:
    load(base("llama"), machine, str(adapter))
    file = adapter / "adapter_model.safetensors"
    save_file(without("layers.1.")(load_file(file)), file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match="file is incomplete"):
        load(base("llama"), machine, str(adapter))
