"""What a step takes at least: the kernels of a pass, counted, and NCCL's own model of a reduction."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rung.methods.continued import Continued
from rung.methods.facts import Facts
from rung.methods.full import Full
from rung.methods.grpo import Grpo
from rung.methods.lora import Lora
from rung.methods.preference import Preferring
from rung.methods.pretrain import Pretrain
from rung.planning import step_floor
from rung.planning.step_floor import all_reduce_seconds, floor_seconds, pass_seconds

FACTS = Facts(
    train_rows=241,
    parameters=10**8,
    layers=30,
    encoder_parameters=1,
    shared_tokens=10,
    input_tokens=30,
    output_tokens=2,
    labels=3,
    corpus_tokens=100_001,
    pairs=33,
    pair_tokens=50,
)


def counted(act: Callable[[], object]) -> int:
    """Operations that launch a kernel: no views, and nothing that only allocates."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Count(TorchDispatchMode):
        found = 0

        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            views = any(one.alias_info and not one.alias_info.is_write for one in function._schema.arguments)
            self.found += not (views or any(word in str(function) for word in ("view", "empty", "detach")))
            return function(*args, **(kwargs or {}))

    with Count() as count:
        act()
    return count.found


def llama(layers: int) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    heads: dict[str, Any] = {"num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": layers}
    return LlamaForCausalLM(LlamaConfig(vocab_size=64, hidden_size=32, intermediate_size=64, **heads))


def dense_launches(layers: int) -> int:
    """Of a pass forward and backward in pre-training."""
    from rung.lm.training.raw_text_steps import dense_loss
    from rung.lm.trees.tree import Row

    model, rows = llama(layers), [Row(tuple(range(20)), (False,) + (True,) * 19)] * 4
    return counted(lambda: dense_loss(model, rows, False).backward())


def launches(layers: int, lora: bool, folder: Path) -> int:
    """Of three training steps on rows."""
    from rung.lm.models import adapters
    from rung.lm.models.load import Loaded
    from rung.lm.training import train
    from rung.lm.trees import attention
    from rung.lm.trees.tree import Row

    model = llama(layers)
    model.set_attn_implementation(attention.NAME)
    model = adapters.lora(model, 4, 8, 0.0, seed=0) if lora else model
    rows = [Row(tuple(range(i, i + 20)), (False,) * 15 + (True,) * 5) for i in range(12)]
    plan = train.TrainConfig(learning_rate=1e-3, epochs=1, batch=4, save=100)
    items = train.Items(check=lambda *_: None)
    return counted(lambda: train.run(Loaded(model, None, True, 4096), rows, plan, folder, items=items))  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_layer_launches_no_fewer_kernels_than_is_said(tmp_path: Path) -> None:
    def a_layer(lora: bool) -> float:
        few, many = (launches(layers, lora, tmp_path / f"{lora}{layers}") for layers in (1, 2))
        return (many - few) / 3

    assert step_floor.LAUNCHES < a_layer(False) < 1.5 * step_floor.LAUNCHES < a_layer(True) < 2 * step_floor.LAUNCHES
    dense = dense_launches(2) - dense_launches(1)
    assert step_floor.LAUNCHES < dense < 1.1 * step_floor.LAUNCHES, "a pass of pre-training, without the optimizer"


def test_a_reduction_takes_longer_between_machines() -> None:
    assert all_reduce_seconds(2) == pytest.approx(5.44e-6) and all_reduce_seconds(8) == pytest.approx(11.68e-6)
    assert all_reduce_seconds(16) == pytest.approx(4.4e-6 + 2 * (7 * 0.52e-6 * 1.8 + 5e-6))
    assert all_reduce_seconds(8) < all_reduce_seconds(16) < all_reduce_seconds(64)


def test_steps_follow_from_each_methods_own_options() -> None:
    for method, steps in (
        (Lora(epochs=4, batch=16), 4 * 16),
        (Lora(epochs=4, batch=16, patience=1), 4 * 14),
        (Preferring(epochs=2, batch=16), 2 * 2),
        (Preferring(epochs=2, batch=16, held=0.0), 2 * 3),
        (Continued(step=8192, epochs=2, held=0.2), 20),
        (Grpo(steps=10, updates=2), 20),
    ):
        assert floor_seconds([method], FACTS, 1) == pytest.approx(steps * pass_seconds(30) * passes(method)), method.name
    replayed = floor_seconds([Continued(epochs=2, held=0.2, replay=0.5)], replace(FACTS, general_text=True), 1)
    assert replayed == pytest.approx(40 * 4 * pass_seconds(30))


def test_layers_are_those_of_the_model_that_is_trained() -> None:
    made, adapted = Pretrain(steps=70, batch=8, context=256), Lora(epochs=1, batch=241)
    assert floor_seconds([made], FACTS, 1) == pytest.approx(70 * pass_seconds(7))
    assert floor_seconds([replace(made, parameters=10**8)], FACTS, 1) == pytest.approx(70 * pass_seconds(13))
    wide = replace(adapted, tokens=10**6)
    assert floor_seconds([wide], FACTS, 1) == pytest.approx(pass_seconds(30))
    assert floor_seconds([made, wide], FACTS, 1) == pytest.approx(71 * pass_seconds(7))
    assert floor_seconds([wide], replace(FACTS, layers=0), 1) == pytest.approx(pass_seconds(1)), "unknown: at least one"
    assert floor_seconds([replace(made, parameters=10**5)], FACTS, 1) == pytest.approx(70 * pass_seconds(1)), "no such shape"


def passes(method: Any) -> int:
    """Passes of a step within the method's tokens: a step of raw text may have several."""
    return math.ceil(8192 / method.tokens) if isinstance(method, Continued) else 1


def test_gpus_share_the_passes_of_a_large_step() -> None:
    large = replace(FACTS, input_tokens=1022)
    one, eight = (floor_seconds([Full(epochs=1, batch=16, tokens=2048)], large, gpus) for gpus in (1, 8))
    assert one == pytest.approx(16 * 9 * pass_seconds(30)), "16 rows and what they share"
    assert eight == pytest.approx(16 * (2 * pass_seconds(30) + all_reduce_seconds(8)))
