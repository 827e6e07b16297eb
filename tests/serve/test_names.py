"""What is in memory goes by content: adapters of one base in turn, and other weights under an old name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from rung.errors import ModelError
from rung.lm.base import Decoding, ModelRef, Prompt
from rung.lm.engines import Engines
from rung.lm.models import adapters
from rung.lm.models.load import load
from rung.machine import Machine
from rung.predictor import folder_digest
from rung.types import Message

QUESTION = "answer with one of these labels"
ASKED = [Prompt((Message("system", QUESTION), Message("user", text)), text) for text in ("late", "refund")]


@pytest.fixture
def weights(tmp_path: Path, base: Callable[[str], Path]) -> Path:
    """A base of one's own, to be overwritten."""
    return shutil.copytree(base("llama"), tmp_path / "base")


def adapter(weights: Path, machine: Machine, folder: Path, seed: int) -> tuple[str, str]:
    """An adapter that changes answers: its folder and the digest of that."""
    model = adapters.lora(load(weights, machine, training=True).model, 4, 8, 0.0, seed)
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.add_(torch.randn_like(parameter))
    adapters.save(model, folder)
    return str(folder), folder_digest(folder)


def answers(engines: Engines, ref: ModelRef) -> list[str]:
    return [one.text for one in engines.open(ref).generate(ASKED, Decoding(max_new_tokens=12))]


def new(machine: Machine, most: int = 4) -> Engines:
    return Engines(machine, say=lambda text: None, most=most)


@pytest.mark.parametrize("most", [1, 4])
def test_adapters_of_one_base_in_turn(weights: Path, machine: Machine, tmp_path: Path, most: int) -> None:
    bare = new(machine).reference(str(weights))
    refs = [bare]
    for seed in (1, 2):
        files, digest = adapter(weights, machine, tmp_path / f"adapter{seed}", seed)
        refs.append(ModelRef("causal", str(weights), bare.digest, files, digest))
    alone = [answers(new(machine), ref) for ref in refs]
    assert len({tuple(one) for one in alone}) == 3
    shared = new(machine, most)
    for which in (1, 2, 1, 0, 2, 1):
        assert answers(shared, refs[which]) == alone[which]


def test_other_weights_under_an_old_name(weights: Path, machine: Machine) -> None:
    shared = new(machine, 1)
    old = shared.reference(str(weights))
    before = answers(shared, old)
    model = load(weights, machine).model
    torch.manual_seed(9)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    model.save_pretrained(weights)
    assert answers(shared, old) == before  # still in memory, as it was
    now = shared.reference(str(weights))
    assert now.digest != old.digest
    assert answers(shared, now) == answers(new(machine), now) != before
    with pytest.raises(ModelError, match="others than those"):
        shared.open(old)  # it was closed to make room
