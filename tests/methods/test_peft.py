"""Methods that train weights, one on top of another, and what cannot stand on what."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from slowly import slow_but

from rung.errors import ModelError, RungError, TaskError
from rung.lm.engines import Engines
from rung.machine import Machine
from rung.methods import METHODS
from rung.methods.base import Run
from rung.methods.estimate import PROCESS_BYTES, estimate_base
from rung.methods.facts import Facts
from rung.methods.full import Full
from rung.methods.lora import Lora
from rung.methods.peft import KINDS, Peft
from rung.methods.qlora import QLora
from rung.predictor import Predictor
from rung.types import Example, TrainData

ROWS = tuple(Example(f"the parcel {i}", "late" if i % 2 else "refund") for i in range(8))
DATA = TrainData(ROWS, ("late", "refund"))
QUICK = {"epochs": 1, "batch": 4}


class Shop:
    """Fits one method after another, each in a folder of its own."""

    def __init__(self, start: Predictor, engines: Engines, root: Path):
        self.start, self.engines, self.root, self.count = start, engines, root, 0
        self.notes: dict = {}

    def fit(self, *chain: Lora | Peft | Full | QLora) -> Predictor:
        found = self.start
        for method in chain:
            self.count += 1
            folder = self.root / str(self.count)
            folder.mkdir()
            run = Run(folder, self.engines)
            found = method.fit(found, DATA, run)
            self.notes = run.notes
        return found

    def confidences(self, predictor: Predictor) -> list[float | None]:
        return [p.confidence for p in predictor.predict(ROWS, self.engines)]


@pytest.fixture
def shop(base: Callable[[str], Path], machine: Machine, tmp_path: Path) -> Shop:
    engines = Engines(machine, say=lambda text: None)
    reference = engines.reference(str(base("llama")))
    return Shop(Predictor(kind="classify", model=reference, instruction="?", labels=("late", "refund")), engines, tmp_path)


def part(kind: str, **more: float) -> Peft:
    return Peft(kind=kind, size=4, **{**QUICK, "learning_rate": 0.05, **more})  # type: ignore[arg-type]


LORA = Lora(rank=2, epochs=1, batch=4)
FULL = Full(epochs=1, batch=4, learning_rate=1e-2)


@pytest.mark.parametrize("below", slow_but(["bottleneck"], ["ia3", "layernorm", "bitfit", "bottleneck"]))
def test_lora_stands_on_each_that_stays_beside_the_weights(shop: Shop, below: str) -> None:
    found = shop.fit(part(below), LORA)
    assert (Path(found.model.files) / "before").is_dir()
    alone = replace(found, model=replace(found.model, files=str(Path(found.model.files) / "before"), files_digest="below"))
    assert len({tuple(shop.confidences(one)) for one in (shop.start, alone, found)}) == 3


@pytest.mark.parametrize("above", slow_but(["prefix"], ["ia3", "layernorm", "bitfit", "bottleneck", "prompt", "prefix"]))
def test_each_stands_on_lora_and_on_whole_weights(shop: Shop, above: str) -> None:
    for below in (LORA, FULL):
        found = shop.fit(below, part(above))
        assert shop.confidences(found) != shop.confidences(shop.start)


def test_whole_weights_need_nothing_below_them(shop: Shop) -> None:
    for below in (LORA, part("ia3"), part("layernorm"), part("bitfit")):
        found = shop.fit(below, FULL)
        assert not (Path(found.model.files) / "before").exists()
        config = json.loads((Path(found.model.files) / "generation_config.json").read_text())
        assert config["eos_token_id"] == [2, 4], "what ends an answer is saved with the weights"
    assert shop.notes["trained_share"] == 1.0


@pytest.mark.parametrize("below", ["prompt", "prefix"])
def test_nothing_is_trained_on_top_of_virtual_tokens(shop: Shop, below: str) -> None:
    fitted = shop.fit(part(below))
    for above in (LORA, FULL, part("ia3"), part(below)):
        with pytest.raises(RungError, match=r"cannot be merged .* Put that method last"):
            above.fit(fitted, DATA, Run(shop.root, shop.engines))


def test_whole_weights_cannot_hold_a_bottleneck(shop: Shop) -> None:
    fitted = shop.fit(part("bottleneck"))
    with pytest.raises(RungError, match="cannot be merged"):
        FULL.fit(fitted, DATA, Run(shop.root, shop.engines))


def test_the_report_gives_what_was_trained(shop: Shop) -> None:
    for kind in KINDS:
        shop.fit(part(kind))
        assert 0 < shop.notes["trained_share"] < 0.2, kind
        assert shop.notes["trained_parameters"] > 0


@pytest.mark.parametrize("kind", ["layernorm", "bitfit", "bottleneck"])
def test_small_steps_are_not_rounded_away_in_bfloat16(
    shop: Shop, machine: Machine, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    class Caught(Exception): ...

    def caught(loaded: Any, rows: Any, plan: Any, *rest: Any, **more: Any) -> None:
        assert plan.mixed and {p.dtype for p in loaded.model.parameters()} == {torch.float32}
        raise Caught

    monkeypatch.setattr("rung.lm.training.train.run", caught)
    shop.engines = Engines(replace(machine, dtype="bfloat16", gflops={"bfloat16": 1.0, "float32": 1.0}), say=lambda text: None)
    with pytest.raises(Caught):
        shop.fit(part(kind))


def test_a_better_epoch_is_kept(shop: Shop) -> None:
    for method in (part("prompt", patience=1, epochs=2), part("bitfit", patience=1, epochs=2)):
        shop.fit(method)
        assert len(shop.notes["held"]) == 2


def test_what_cannot_be_is_refused_when_it_is_said() -> None:
    with pytest.raises(TaskError, match=r"kind must be .*'prefix', got 'bias'"):
        Peft(kind="bias")  # type: ignore[arg-type]
    with pytest.raises(TaskError, match="size must be at least 1 for the kind prompt, got 0"):
        Peft(kind="prompt")


def test_four_bits_without_their_library_is_a_named_refusal(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelError, match="bitsandbytes, which is not installed"):
        shop.fit(QLora(rank=2, epochs=1))


FACTS = Facts(
    train_rows=500, parameters=10**9, encoder_parameters=10**7, shared_tokens=60, input_tokens=20, output_tokens=3, labels=3
)


def test_what_training_takes_is_quoted_in_order(machine: Machine) -> None:
    start = estimate_base(FACTS, machine)
    methods = (replace(METHODS[name], batch=16) for name in ("qlora", "lora", "full"))  # type: ignore[call-arg]
    four, lora, full = (method.estimate(start, FACTS, machine).memory_bytes for method in methods)
    assert four < lora - 3 * FACTS.parameters < lora < full
    assert full > 16 * FACTS.parameters, "weights, gradients and two moments, four bytes each"
    assert METHODS["full"].learning_rate == METHODS["lora"].learning_rate / 10  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["lora", "full", "encoder-full"])
def test_memory_is_quoted_by_what_is_computed_at_once(machine: Machine, name: str) -> None:
    def memory(facts: Facts = FACTS, **options: int) -> int:
        method = replace(METHODS[name], batch=16, **options)  # type: ignore[call-arg]
        return method.estimate(estimate_base(facts, machine), facts, machine).memory_bytes

    longer = replace(FACTS, input_tokens=60)
    assert memory() < memory(longer) < memory(longer, tokens=10**6) + 1
    assert memory(replace(FACTS, input_tokens=5000)) == memory(replace(FACTS, input_tokens=9000)), "parts of at most `tokens`"
    assert memory(longer, tokens=100) < memory(longer)


def test_memory_on_a_gpu_is_without_the_process(machine: Machine) -> None:
    other = replace(machine, device="cuda")
    assert estimate_base(FACTS, machine).memory_bytes - estimate_base(FACTS, other).memory_bytes == PROCESS_BYTES


def test_four_bits_train_and_answer_beside_rounded_weights(shop: Shop, base: Callable[[str], Path]) -> None:
    pytest.importorskip("bitsandbytes", reason="4-bit weights need bitsandbytes")
    import shutil

    from transformers import AutoModelForCausalLM, LlamaConfig

    wide = shop.root / "wide"  # its blocks hold 64 weights, more than a row of the tiny models
    shutil.copytree(base("llama"), wide)
    given = LlamaConfig.from_pretrained(wide)
    given.hidden_size, given.intermediate_size, given.head_dim = 128, 128, 32
    AutoModelForCausalLM.from_config(given).save_pretrained(wide)
    shop.start = replace(shop.start, model=shop.engines.reference(str(wide)))
    found = shop.fit(QLora(rank=2, epochs=1, batch=4, learning_rate=0.05))
    assert shop.confidences(found) != shop.confidences(shop.start)
    for below, above in ((shop.fit(LORA), QLora(rank=2, epochs=1)), (found, LORA)):
        with pytest.raises(RungError, match="cannot be merged"):
            above.fit(below, DATA, Run(shop.root, shop.engines))
