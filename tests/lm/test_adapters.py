"""Every kind of trained part: exact over trees, as peft computes it, alone in what it changes, the same when opened again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from slowly import slow_but

from rung.errors import ModelError
from rung.lm.base import Decoding, Prompt
from rung.lm.inference.causal import CausalEngine
from rung.lm.models import adapters, fits, own_adapters
from rung.lm.models.load import Loaded, load, saves_completely
from rung.lm.training import losses, train
from rung.lm.trees import virtual
from rung.lm.trees.forest import Forest
from rung.lm.trees.tree import Row
from rung.machine import Machine
from rung.types import Message

PLAN = train.TrainConfig(learning_rate=1e-2, epochs=2, batch=4, seed=5)
LABELS = ("late", "refund", "refund me")

KINDS: dict[str, Callable[[Loaded], Any]] = {
    "plain": lambda one: adapters.lora(one.model, 2, 4, 0.0, 0),
    "stabilised": lambda one: adapters.lora(one.model, 2, 4, 0.0, 0, stabilised=True),
    "decomposed": lambda one: adapters.lora(one.model, 2, 4, 0.0, 0, decomposed=True),
    "factors": lambda one: adapters.ia3(one.model),
    "norms": lambda one: adapters.norms(one.model),
    "biases": lambda one: own_adapters.biases(one.model),
    "bottleneck": lambda one: own_adapters.bottleneck(one.model, 4, 0),
    "prompt": lambda one: adapters.prompt(one.model, words(one)),
    "prefix": lambda one: adapters.prefix(one.model, words(one)),
}
FRONT = ("prompt", "prefix")
MERGED = tuple(kind for kind in KINDS if kind not in (*FRONT, "bottleneck"))
PEFT = tuple(kind for kind in KINDS if kind not in ("biases", "bottleneck"))

every = pytest.mark.parametrize("kind", KINDS)
front = pytest.mark.parametrize("kind", FRONT)

Fresh = Callable[[str], Loaded]


def words(loaded: Loaded, count: int = 5) -> list[int]:
    return virtual.initial_tokens(loaded.chat, "sort these parcels", count)


def turns(i: int) -> tuple[Message, ...]:
    return Message("system", "sort these"), Message("user", f"the parcel {i * 7}")


def rows(loaded: Loaded, count: int = 6) -> list[Row]:
    return [loaded.chat.row(turns(i), "late" if i % 2 else "refund") for i in range(count)]


def prompts(count: int = 4) -> list[Prompt]:
    return [Prompt(turns(i), str(i)) for i in range(count)]


def adapted(loaded: Loaded, kind: str, noise: float = 0.1) -> Loaded:
    """With its trained part moved away from where it begins, which for most kinds changes nothing."""
    model = KINDS[kind](loaded)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in trained(model).values():
            parameter.add_(noise * torch.randn_like(parameter))
    return replace(loaded, model=model.eval())


def trained(model: Any) -> dict[str, torch.Tensor]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def gradients(loaded: Loaded, given: list[Row], trees: bool) -> tuple[float, torch.Tensor]:
    loaded.model.zero_grad()
    loss = losses.sft(loaded.model, given, trees)
    loss.backward()
    return float(loss.detach()), torch.cat([p.grad.flatten() for p in trained(loaded.model).values()])  # type: ignore[union-attr]


@every
@pytest.mark.parametrize("arch", ["llama", "gpt2", "qwen2", "gemma3"])
def test_a_tree_has_the_loss_and_gradient_of_the_padded_batch(fresh: Fresh, kind: str, arch: str) -> None:
    """The padded side is peft's own forward."""
    loaded = adapted(fresh(arch), kind)
    assert loaded.trees
    given = rows(loaded)
    loss, grad = gradients(loaded, given, True)
    loaded.model.set_attn_implementation("sdpa")
    wanted_loss, wanted = gradients(loaded, given, False)
    assert loss == pytest.approx(wanted_loss, rel=1e-5)
    assert (grad - wanted).norm() <= 1e-5 * wanted.norm()


@pytest.mark.parametrize("kind", slow_but(["plain", "prompt"], [kind for kind in KINDS if kind != "factors"]))
def test_a_model_without_trees_trains_too(fresh: Fresh, kind: str, tmp_path: Path) -> None:
    loaded = fresh("bloom")
    loaded = replace(loaded, model=KINDS[kind](loaded))
    assert not loaded.trees
    found = train.run(loaded, rows(loaded), replace(PLAN, epochs=6), tmp_path / "work")
    assert min(found.losses) < 0.95 * found.losses[0]
    engine = CausalEngine(loaded)
    chosen = engine.choose(prompts(2), LABELS)
    scores = engine.score([prompts(2)[0]] * 3, LABELS)
    assert chosen[0].label == LABELS[int(np.argmax(scores))]


@every
def test_training_changes_what_is_trained_and_nothing_else(fresh: Fresh, kind: str, tmp_path: Path) -> None:
    before = {name: value.clone() for name, value in fresh("llama").model.state_dict().items()}
    loaded = fresh("llama")
    loaded = replace(loaded, model=KINDS[kind](loaded))
    begin = {name: value.detach().clone() for name, value in trained(loaded.model).items()}
    train.run(loaded, rows(loaded), PLAN, tmp_path / "work")
    assert begin
    changed = [name for name, value in trained(loaded.model).items() if not torch.equal(value, begin[name])]
    assert len(changed) >= 0.9 * len(begin)
    frozen = {
        name.replace(".base_layer", "").replace(".layer.", "."): p
        for name, p in loaded.model.named_parameters()
        if name not in begin
    }
    for name, value in before.items():
        [found] = [p for end, p in frozen.items() if end == name or end.endswith(f".{name}")]
        assert torch.equal(found, value), name


@every
@pytest.mark.parametrize("arch", ["llama", "gpt2"])
def test_saved_and_opened_it_answers_as_in_training(
    fresh: Fresh, base: Callable[[str], Path], machine: Machine, kind: str, arch: str, tmp_path: Path
) -> None:
    before = fresh(arch)
    loaded = adapted(fresh(arch), kind)
    adapters.save(loaded.model, tmp_path / "saved")
    opened = load(base(arch), machine, str(tmp_path / "saved"))
    assert opened.trees
    assert not list((tmp_path / "saved").glob("*.bin")), "no pickles"
    ours, theirs = CausalEngine(loaded), CausalEngine(opened)
    given = [prompt for prompt in prompts() for _ in LABELS]
    answers = list(LABELS) * 4
    np.testing.assert_allclose(theirs.score(given, answers), ours.score(given, answers), rtol=1e-5, atol=1e-4)
    assert not np.allclose(CausalEngine(before).score(given, answers), ours.score(given, answers), atol=0.1)
    assert [c.label for c in theirs.choose(prompts(), LABELS)] == [c.label for c in ours.choose(prompts(), LABELS)]
    decoding = Decoding(max_new_tokens=6)
    assert theirs.generate(prompts(), decoding) == ours.generate(prompts(), decoding)


@pytest.mark.parametrize("kind", MERGED)
@pytest.mark.parametrize("arch", ["llama", "gpt2"])
def test_merged_it_has_the_logits_of_unmerged(
    fresh: Fresh, base: Callable[[str], Path], machine: Machine, kind: str, arch: str, tmp_path: Path
) -> None:
    loaded = adapted(fresh(arch), kind, noise=0.02)
    adapters.save(loaded.model, tmp_path / "saved")
    merged = load(base(arch), machine, str(tmp_path / "saved"))
    assert saves_completely(merged.model)
    ids = torch.tensor([rows(loaded)[0].tokens])
    found = []
    for model in (loaded.model.double(), merged.model.double()):
        model.set_attn_implementation("sdpa")
        with torch.no_grad():
            found.append(model(ids).logits)
    torch.testing.assert_close(found[1], found[0], rtol=1e-5, atol=1e-5)


@every
def test_weights_that_can_stand_alone_open_alone(
    fresh: Fresh, base: Callable[[str], Path], machine: Machine, kind: str, tmp_path: Path
) -> None:
    loaded = adapted(fresh("llama"), kind)
    adapters.save(loaded.model, tmp_path / "saved")
    opened = load(base("llama"), machine, str(tmp_path / "saved"))
    assert saves_completely(opened.model) == (kind in MERGED)
    if kind in MERGED:
        opened.model.save_pretrained(tmp_path / "whole")
        opened.chat.tokenizer.save_pretrained(tmp_path / "whole")
        alone = load(tmp_path / "whole", machine)
        with torch.no_grad():
            a, b = (losses.sft(one.model, rows(loaded), True) for one in (opened, alone))
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("kind", PEFT)
def test_what_is_saved_opens_with_peft(fresh: Fresh, kind: str, tmp_path: Path) -> None:
    from peft import PeftModel

    loaded = adapted(fresh("llama"), kind)
    adapters.save(loaded.model, tmp_path / "saved")
    theirs: Any = PeftModel.from_pretrained(fresh("llama").model, tmp_path / "saved")
    theirs.set_attn_implementation("sdpa")
    given = rows(loaded)
    with torch.no_grad():
        found = [float(losses.sft(loaded.model, given, True)), float(losses.sft(theirs, given, False))]
    assert found[0] == pytest.approx(found[1], rel=1e-5)


@pytest.mark.parametrize("kind", slow_but(["factors", "prompt"], KINDS))
def test_one_seed_one_result(fresh: Fresh, kind: str, tmp_path: Path) -> None:
    found = []
    for name in ("a", "b"):
        loaded = fresh("llama")
        loaded = replace(loaded, model=KINDS[kind](loaded))
        train.run(loaded, rows(loaded), PLAN, tmp_path / name)
        found.append(trained(loaded.model))
        torch.rand(7)  # a state left behind by others must not matter
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


class Killed(Exception):
    pass


@pytest.mark.parametrize("kind", slow_but(["factors", "prefix"], [kind for kind in KINDS if kind not in ("plain", "stabilised")]))
def test_a_killed_run_goes_on_to_the_same_weights(fresh: Fresh, kind: str, tmp_path: Path) -> None:
    def new() -> Loaded:
        loaded = fresh("llama")
        return replace(loaded, model=KINDS[kind](loaded))

    def kill(done: int, total: int, loss: float) -> None:
        if done == 3:
            raise Killed

    whole_run, killed, again = new(), new(), new()
    train.run(whole_run, rows(whole_run), PLAN, tmp_path / "whole")
    with pytest.raises(Killed):
        train.run(killed, rows(killed), PLAN, tmp_path / "cut", watch=train.Watch(kill))
    told: list[int] = []
    train.run(again, rows(again), PLAN, tmp_path / "cut", watch=train.Watch(lambda done, *_: told.append(done)))
    assert told[0] == 3, "it goes on after the last whole epoch"
    wanted, found = trained(whole_run.model), trained(again.model)
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)


@pytest.mark.parametrize("kind", slow_but(["plain", "prefix", "factors"], KINDS))
def test_stopping_early_keeps_the_best(fresh: Fresh, kind: str, tmp_path: Path) -> None:
    loaded = fresh("llama")
    loaded = replace(loaded, model=KINDS[kind](loaded))
    seen: list[dict[str, torch.Tensor]] = []

    def held() -> float:
        seen.append({name: value.detach().clone() for name, value in trained(loaded.model).items()})
        return [0.1, 0.9, 0.2][len(seen) - 1]

    train.run(loaded, rows(loaded), replace(PLAN, epochs=4, patience=1), tmp_path / "work", validate=held)
    assert len(seen) == 3
    assert seen[1], "nothing is trained"
    now = dict(loaded.model.named_parameters())
    assert all(torch.equal(now[name], value) for name, value in seen[1].items())


# What stands in front of every row


@front
@pytest.mark.parametrize("arch", ["llama", "gpt2", "gemma3", "bloom"])
def test_it_begins_as_if_the_words_stood_there(fresh: Fresh, kind: str, arch: str) -> None:
    loaded = fresh(arch)
    given = rows(loaded)
    said = tuple(words(loaded))
    longer = [Row(said + row.tokens, (False,) * len(said) + row.targets) for row in given]
    with torch.no_grad():
        wanted = float(losses.sft(loaded.model, longer, loaded.trees))
        found = float(losses.sft(KINDS[kind](loaded), given, loaded.trees))
    assert found == pytest.approx(wanted, rel=1e-5)


@front
@pytest.mark.parametrize("arch", ["llama", "gpt2", "gemma3"])
def test_writing_is_that_of_peft(fresh: Fresh, kind: str, arch: str) -> None:
    loaded = adapted(fresh(arch), kind)
    forest = Forest(loaded.model)
    ids = list(rows(loaded)[0].tokens[:-2])
    logits = forest.grow(ids, range(-1, len(ids) - 1), [len(ids) - 1])[0]
    assert len(forest) == len(ids)
    ours = [int(logits.argmax())]
    for _ in range(5):
        logits = forest.grow([ours[-1]], [len(forest) - 1], [0])[0]
        ours.append(int(logits.argmax()))
    loaded.model.set_attn_implementation("sdpa")
    theirs = list(ids)
    for _ in range(6):
        with torch.no_grad():
            theirs.append(int(loaded.model(torch.tensor([theirs])).logits[0, -1].argmax()))
    assert ours == theirs[len(ids) :]


@front
def test_all_ways_of_asking_agree(fresh: Fresh, kind: str) -> None:
    """Choosing, scoring, writing in a batch and piece by piece, and the padded way."""
    loaded = adapted(fresh("llama"), kind)
    engine, padded = CausalEngine(loaded), CausalEngine(replace(loaded, trees=False))
    asked = [prompt for prompt in prompts() for _ in LABELS]
    scores = np.array(engine.score(asked, list(LABELS) * 4)).reshape(4, 3)
    for choice, row in zip(engine.choose(prompts(), LABELS), scores):
        assert choice.label == LABELS[row.argmax()]
        assert choice.logprob == pytest.approx(row.max(), abs=1e-4)
    decoding = Decoding(max_new_tokens=6)
    together = [c.text for c in engine.generate(prompts(), decoding)]
    assert together == ["".join(engine.stream(prompt, decoding)) for prompt in prompts()]
    loaded.model.set_attn_implementation("sdpa")
    np.testing.assert_allclose(padded.score(asked, list(LABELS) * 4), scores.ravel(), rtol=1e-5, atol=1e-4)
    assert together == [c.text for c in padded.generate(prompts(), decoding)]


@front
def test_it_takes_up_room_in_the_context(fresh: Fresh, kind: str) -> None:
    loaded = fresh("gpt2-short")
    longer = adapted(loaded, kind)
    assert longer.max_length == loaded.context - 5
    assert CausalEngine(longer).context == longer.max_length


# What cannot be


def test_a_model_that_peft_does_not_know_is_refused_by_name(fresh: Fresh) -> None:
    for kind in ("factors", "bottleneck"):
        with pytest.raises(ModelError, match="mamba"):
            KINDS[kind](fresh("mamba"))


def test_tensors_of_another_base_are_refused(fresh: Fresh, tmp_path: Path) -> None:
    own_adapters.save(own_adapters.bottleneck(fresh("gemma3").model, 4, 0), tmp_path)
    with pytest.raises((ModelError, AttributeError)):
        own_adapters.restore(fresh("llama").model, tmp_path)


def test_a_mark_tells_what_was_trained_beside_four_bits(tmp_path: Path) -> None:
    assert not fits.is_four_bit(tmp_path)
    (tmp_path / fits.FOUR_BIT).touch()
    assert fits.is_four_bit(tmp_path)


def test_biases_of_a_model_that_has_some_are_its_own(fresh: Fresh) -> None:
    own = {name for name, _ in fresh("qwen2").model.named_parameters() if name.endswith(".bias")}
    assert set(trained(own_adapters.biases(fresh("qwen2").model))) == own
    given = trained(own_adapters.biases(fresh("llama").model))
    assert len(given) == 14, "seven linear layers in each of two blocks, and not the output head"
