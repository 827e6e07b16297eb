"""Engines of a server: adapters of one base share its weights and one running batch, and never each other's answers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rung.lm.base import Decoding, ModelRef, Prompt, Writing
from rung.lm.engines import Engines
from rung.lm.inference.causal import CausalEngine
from rung.lm.inference.served import ServedAdapter, ServedBase
from rung.lm.models import adapters, serving
from rung.lm.models.load import load
from rung.machine import Machine

TEXTS = ["where is my order", "the parcel is late", "refund please"]
GREEDY = Decoding(max_new_tokens=12)


def fitted(base: Path, machine: Machine, folder: Path, seed: int, **more: Any) -> str:
    """A LoRA whose B is not zero, so that it changes the answers."""
    model = adapters.lora(load(base, machine).model, 4, 8, 0.0, seed, **more)
    torch.manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    adapters.save(model, folder)
    return str(folder)


@pytest.fixture
def served(machine: Machine) -> Engines:
    return Engines(machine, lambda text: None, most=4, serving=True)


def reference(base: Path, engines: Engines, files: str = "", digest: str = "") -> ModelRef:
    return replace(engines.reference(str(base)), files=files, files_digest=digest)


def written(*asked: tuple[CausalEngine, Prompt]) -> list[str]:
    """Answers of several engines that are written in one batch."""
    out: dict[int, str] = {}
    batches = []
    for k, (engine, prompt) in enumerate(asked):
        batch = engine.running()
        assert batch is not None
        batch.join(Writing(prompt, GREEDY, lambda found, k=k: out.update({k: found.text}), pytest.fail))  # type: ignore[misc]
        batches += [] if batch in batches else [batch]
    for batch in batches:
        while len(batch):
            batch.step()
    return [out[k] for k in range(len(asked))]


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_adapters_of_one_base_answer_as_if_merged(
    base: Callable, machine: Machine, served: Engines, ask: Callable, tmp_path: Path, kind: str
) -> None:
    folder = base(kind)
    files = [fitted(folder, machine, tmp_path / f"{k}", k) for k in (1, 2)]
    plain = Engines(machine, lambda text: None, most=4)
    references = [reference(folder, served), *(reference(folder, served, file, file) for file in files)]
    engines = [served.open(one) for one in references]
    wanted = [[one.text for one in plain.open(ref).generate([ask(text) for text in TEXTS], GREEDY)] for ref in references]
    assert len({tuple(one) for one in wanted}) == 3
    assert type(engines[0]) is ServedBase and all(type(one) is ServedAdapter for one in engines[1:])
    mixed = [(engines[k], ask(text)) for text in TEXTS for k in (1, 0, 2)]
    found = written(*mixed)
    assert [found[k::3] for k in (1, 0, 2)] == wanted
    for k in (1, 2, 1):  # A, B, A, each behind what the other has left in the cache
        assert written(*((engines[k], ask(text)) for text in TEXTS)) == wanted[k]
    assert len({id(one.running().batch if k else one.running()) for k, one in enumerate(engines)}) == 1
    labels = ["refund", "delay", "other"]
    for k, ref in enumerate(references):
        chosen, right = (one.choose([ask(text) for text in TEXTS], labels) for one in (engines[k], plain.open(ref)))
        assert [one.label for one in chosen] == [one.label for one in right]
        assert [one.logprob for one in chosen] == pytest.approx([one.logprob for one in right], abs=1e-3)
        assert [one.text for one in engines[k].generate([ask(text) for text in TEXTS], GREEDY)] == wanted[k]


def test_other_weights_under_an_old_name_are_another_adapter(
    base: Callable, machine: Machine, served: Engines, ask: Callable, tmp_path: Path
) -> None:
    folder = base("llama")
    old = fitted(folder, machine, tmp_path / "model", 1)
    before = written((served.open(reference(folder, served, old, "old")), ask(TEXTS[0])))
    shutil.rmtree(old)
    new = fitted(folder, machine, tmp_path / "model", 2)
    fresh = served.open(reference(folder, served, new, "new"))
    merged = Engines(machine, lambda text: None).open(reference(folder, served, new, "new"))
    assert written((fresh, ask(TEXTS[0]))) == [one.text for one in merged.generate([ask(TEXTS[0])], GREEDY)] != before


def test_a_base_is_opened_once_also_after_it_was_closed(
    base: Callable, machine: Machine, served: Engines, tmp_path: Path
) -> None:
    files = fitted(base("llama"), machine, tmp_path / "1", 1)
    adapted = served.open(reference(base("llama"), served, files, "1"))
    served.close()
    again = served.open(reference(base("llama"), served))
    assert isinstance(adapted, ServedAdapter) and adapted.base is again


@pytest.mark.parametrize("change", [{"use_dora": True}, {"modules_to_save": ["lm_head"]}, {"alpha_pattern": {"q_proj": 3}}])
def test_what_is_more_than_a_lora_is_merged(
    base: Callable, machine: Machine, served: Engines, ask: Callable, tmp_path: Path, change: dict[str, Any]
) -> None:
    files = Path(fitted(base("llama"), machine, tmp_path / "1", 1, decomposed="use_dora" in change))
    config = files / serving.CONFIG
    assert serving.plain_lora(base("llama"), str(files)) is None or "use_dora" not in change
    config.write_text(json.dumps(json.loads(config.read_text()) | change))
    assert serving.plain_lora(base("llama"), str(files)) is None


def test_an_adapter_of_other_layers_is_not_read_as_one_of_this_base(
    base: Callable, machine: Machine, served: Engines, tmp_path: Path
) -> None:
    files = Path(fitted(base("gpt2"), machine, tmp_path / "1", 1))
    one = served.open(reference(base("llama"), served))
    assert isinstance(one, ServedBase) and serving.read(one.loaded, files) is None


def test_packed_weights_keep_one_copy_and_the_answers(base: Callable, machine: Machine, served: Engines, ask: Callable) -> None:
    one, plain = served.open(reference(base("llama"), served)), Engines(machine, lambda text: None)
    layers = [layer for layer in one.loaded.model.modules() if isinstance(layer, serving.ServedLinear)]
    assert layers and all(layer.packed is not None for layer in layers)
    assert any(not len(layer.weight) for layer in layers)
    prompts = list(map(ask, TEXTS))
    wanted = plain.open(reference(base("llama"), served)).score(prompts, ["late"] * 3)
    assert one.score(prompts, ["late"] * 3) == pytest.approx(wanted, abs=1e-3)
