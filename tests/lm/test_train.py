"""The training loop: the right gradient, the same weights for the same seed, and no work lost to a kill."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from slowly import slow_but
from transformers import Trainer
from transformers.trainer_callback import TrainerState

from rung.errors import BudgetError, DataError
from rung.lm.models import adapters, fits
from rung.lm.models.load import Loaded, load
from rung.lm.training import losses, train, trainer
from rung.lm.training.stopping import StableDecay
from rung.lm.trees import tree
from rung.lm.trees.tree import Row
from rung.types import Message

PLAN = train.TrainConfig(learning_rate=1e-2, epochs=3, batch=4, seed=5)


def rows(loaded: Loaded, count: int = 10) -> list[Row]:
    return [
        loaded.chat.row((Message("system", "sort these"), Message("user", f"the parcel {i * 7}")), "late" if i % 2 else "refund")
        for i in range(count)
    ]


def weights(loaded: Loaded) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in loaded.model.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class Killed(Exception):
    pass


def kill_at(step: int) -> train.Watch:
    def watch(done: int, total: int, loss: float) -> None:
        if done == step:
            raise Killed

    return train.Watch(watch)


@pytest.mark.parametrize("kind", ["llama", "bloom"])
def test_training_learns(fresh: Callable[[str], Loaded], tmp_path: Path, kind: str) -> None:
    loaded = fresh(kind)
    found = train.run(loaded, rows(loaded), train.TrainConfig(learning_rate=1e-2, epochs=12, batch=4), tmp_path / "work")
    assert found.losses[-1] < 0.3 * found.losses[0]
    assert found.rows_seen == 120
    assert not (tmp_path / "work").exists(), "the checkpoints are left lying about"
    assert not loaded.model.training


def test_a_step_in_parts_has_the_gradient_of_the_whole(fresh: Callable[[str], Loaded], tmp_path: Path) -> None:
    found = []
    for tokens in (10_000, 150, 1):
        loaded = fresh("llama")
        plan = train.TrainConfig(learning_rate=1e-2, epochs=1, batch=10, tokens=tokens, warmup=0.0)
        history = train.run(loaded, rows(loaded), plan, tmp_path / str(tokens))
        found.append((history, torch.cat([p.flatten() for p in loaded.model.parameters()])))
    assert found[0][0].nodes < found[1][0].nodes < found[2][0].nodes
    for history, flat in found[1:]:
        assert history.losses == pytest.approx(found[0][0].losses, rel=1e-5)
        torch.testing.assert_close(flat, found[0][1], rtol=1e-3, atol=1e-4)


def test_the_loss_told_is_the_token_mean(fresh: Callable[[str], Loaded], tmp_path: Path) -> None:
    loaded = fresh("llama")
    given = rows(loaded)
    with torch.no_grad():
        wanted = float(losses.sft(loaded.model, given, True)) / losses.weight(given)
    told: list[tuple[int, int, float]] = []
    watch = train.Watch(lambda *step: told.append(step))
    found = train.run(loaded, given, train.TrainConfig(learning_rate=1e-3, epochs=2, batch=10), tmp_path / "w", watch=watch)
    assert found.losses[0] == pytest.approx(wanted, rel=1e-4)
    assert told == [(1, 2, found.losses[0]), (2, 2, found.losses[1])]


def test_one_seed_one_result(fresh: Callable[[str], Loaded], tmp_path: Path) -> None:
    found = []
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        loaded = fresh("llama")
        train.run(loaded, rows(loaded), train.TrainConfig(learning_rate=1e-2, epochs=2, batch=4, seed=seed), tmp_path / name)
        found.append(weights(loaded))
        torch.rand(7)  # a state left behind by others must not matter
    assert same(found[0], found[1])
    assert not same(found[0], found[2])


@pytest.mark.parametrize("dropout", slow_but([0.3], [0.0, 0.3]))
@pytest.mark.parametrize("step", slow_but([2, 5], [2, 5, 8]))
def test_a_killed_run_goes_on_to_the_same_weights(
    fresh: Callable[[str], Loaded], tmp_path: Path, step: int, dropout: float
) -> None:
    def adapted() -> Loaded:
        loaded = fresh("llama")
        return Loaded(adapters.lora(loaded.model, 2, 4, dropout, 0), loaded.chat, loaded.trees, loaded.context)

    whole = adapted()
    train.run(whole, rows(whole), PLAN, tmp_path / "whole")
    killed = adapted()
    with pytest.raises(Killed):
        train.run(killed, rows(killed), PLAN, tmp_path / "cut", watch=kill_at(step))
    again = adapted()
    told: list[int] = []
    train.run(again, rows(again), PLAN, tmp_path / "cut", watch=train.Watch(lambda done, *_: told.append(done)))
    assert told[0] == step, "it goes on after the last step that was saved"
    assert same(weights(again), weights(whole))


EARLY = replace(PLAN, epochs=8, steady=True, stop_below=3.0)


def test_the_rate_is_constant_and_falls_where_the_loss_of_an_epoch_is_low() -> None:
    whole = StableDecay(12, 3, 0.5, 2, 0.0)
    assert [whole(i) for i in range(12)] == pytest.approx([1 / 3, 2 / 3, *[1] * 6, 0.8, 0.6, 0.4, 0.2])
    early = StableDecay(30, 3, 0.5, 0, 0.1)
    for done, loss in enumerate([0.1, 0.7, 0.9, 0.8, 0.4, 0.4, 0.4, 9.0], 1):
        early.see(done, loss)
        assert bool(early.why) == (done >= 7), "the mean of the last three losses is first below 0.5 after seven"
    assert (early.end, early.why) == (11, "the mean loss of the latest 3 steps was 0.4000, below 0.5")
    assert [early(i) for i in range(6, 12)] == pytest.approx([1, 0.8, 0.6, 0.4, 0.2, 0.1])
    late = StableDecay(9, 3, 0.5, 0, 0.0)
    for done in range(7, 10):
        late.see(done, 0.0)
    assert (late.end, late.why) == (9, ""), "the rate falls already"
    assert [StableDecay(steps, 1, 0.5, 0, 0.0)(i) for steps in (1, 2) for i in range(steps)] == [1, 1, 1]


@pytest.mark.parametrize("step", [4, 7])
def test_training_ends_early_and_goes_on_from_a_kill_to_the_same_weights(
    fresh: Callable[[str], Loaded], tmp_path: Path, step: int
) -> None:
    whole, killed, again = fresh("llama"), fresh("llama"), fresh("llama")
    totals: list[int] = []
    plan = replace(EARLY, save=1)
    watch = train.Watch(lambda done, total, _: totals.append(total))
    found = train.run(whole, rows(whole), plan, tmp_path / "whole", watch=watch)
    assert len(found.losses) == 9 < found.planned == 24
    assert "below 3" in found.stopped
    assert totals == [24] * 5 + [9] * 4, "the time left is that of the steps to come"
    with pytest.raises(Killed):
        train.run(killed, rows(killed), plan, tmp_path / "cut", watch=kill_at(step))
    assert train.run(again, rows(again), plan, tmp_path / "cut").losses == found.losses
    assert same(weights(again), weights(whole))


WRITES = {"optimizer": (Trainer, "_save_optimizer_and_scheduler"), "random": (Trainer, "_save_rng_state")}


@pytest.mark.parametrize("write", slow_but(["optimizer"], [*WRITES, "state"]))
@pytest.mark.parametrize("small", [False, True], ids=["full", "lora"])
def test_a_kill_within_a_checkpoint_costs_that_one_alone(
    fresh: Callable[[str], Loaded], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: str, small: bool
) -> None:
    def new() -> Loaded:
        loaded = fresh("llama")
        return replace(loaded, model=adapters.lora(loaded.model, 2, 4, 0.3, 0)) if small else loaded

    whole, killed, again = new(), new(), new()
    train.run(whole, rows(whole), PLAN, tmp_path / "whole")
    of, name = WRITES.get(write, (TrainerState, "save_to_json"))
    real = getattr(of, name)

    def cut(self: Any, place: str) -> None:
        if "checkpoint-4" not in place:
            real(self, place)
            return
        if write == "state":
            Path(place).write_text('{"epoch": 0.4')
        raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(of, name, cut)
        train.run(killed, rows(killed), PLAN, tmp_path / "cut")
    assert {path.name for path in (tmp_path / "cut").iterdir()} == {"checkpoint-3", "checkpoint-4"}
    told: list[int] = []
    train.run(again, rows(again), PLAN, tmp_path / "cut", watch=train.Watch(lambda done, *_: told.append(done)))
    assert told[0] == 4
    assert same(weights(again), weights(whole))


def test_where_no_checkpoint_is_whole_training_begins_anew(fresh: Callable[[str], Loaded], tmp_path: Path) -> None:
    whole, killed, again = fresh("llama"), fresh("llama"), fresh("llama")
    train.run(whole, rows(whole), PLAN, tmp_path / "whole")
    with pytest.raises(Killed):
        train.run(killed, rows(killed), PLAN, tmp_path / "cut", watch=kill_at(5))
    (state,) = (tmp_path / "cut").glob("checkpoint-*/optimizer.pt")
    state.write_bytes(state.read_bytes()[:-100])
    told: list[int] = []
    train.run(again, rows(again), PLAN, tmp_path / "cut", watch=train.Watch(lambda done, *_: told.append(done)))
    assert told[0] == 1
    assert same(weights(again), weights(whole))


def test_there_are_up_to_ten_checkpoints_none_between_updates_on_one_draw() -> None:
    for repeat in (1, 3):
        plan = replace(PLAN, repeat=repeat)
        for steps in range(repeat, 400, repeat):
            every = trainer.save_steps(steps, steps, False, plan, 1000)
            assert every % repeat == 0
            assert min(6, steps // repeat) <= math.ceil(steps / every) <= 10, steps
    assert trainer.save_steps(100, 25, False, replace(PLAN, save=20), 1000) == 20
    assert trainer.save_steps(100, 25, True, PLAN, 1000) == 25, "each that may be chosen is scored"
    assert trainer.save_steps(100, 25, False, PLAN, trainer.LARGE) == 34, "a checkpoint of a large model is large"


@pytest.mark.parametrize("count", [1, 2])
def test_one_step_learns(fresh: Callable[[str], Loaded], tmp_path: Path, count: int) -> None:
    loaded = fresh("llama")
    before = losses.sft(loaded.model, rows(loaded, count), True).item()
    train.run(loaded, rows(loaded, count), train.TrainConfig(learning_rate=1e-2, epochs=1, batch=8), tmp_path / "work")
    assert losses.sft(loaded.model, rows(loaded, count), True).item() < before


class Writer:
    """In place of TensorBoard's, which is not installed: a file where it would have one."""

    def __init__(self, log_dir: str):
        self.file = Path(log_dir) / "events"
        self.file.parent.mkdir(parents=True, exist_ok=True)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        with self.file.open("a") as file:
            file.write(f"{step} {name} {value}\n")

    def add_text(self, *_: Any) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...


@pytest.mark.parametrize("own", [False, True])
def test_what_a_tracker_writes_outlives_the_checkpoints(
    fresh: Callable[[str], Loaded], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: bool
) -> None:
    monkeypatch.setattr("transformers.integrations.integration_utils.is_tensorboard_available", lambda: True)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=Writer))
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    if own:
        monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "own"))
    loaded = fresh("llama")
    watch = train.Watch(trackers=("tensorboard",), tracker_folder=tmp_path / "kept")
    train.run(loaded, rows(loaded), PLAN, tmp_path / "work", watch=watch)
    written = (tmp_path / ("own" if own else "kept") / "events").read_text()
    assert sum(" train/loss " in line for line in written.splitlines()) == 9
    assert not (tmp_path / "work").exists()
    assert not [path for path in (tmp_path / "kept").rglob("*") if path.name != "events"], "checkpoints are not kept there"


def test_full_weights_resume_too(fresh: Callable[[str], Loaded], tmp_path: Path) -> None:
    whole, killed, again = fresh("gemma3"), fresh("gemma3"), fresh("gemma3")
    train.run(whole, rows(whole), PLAN, tmp_path / "whole")
    with pytest.raises(Killed):
        train.run(killed, rows(killed), PLAN, tmp_path / "cut", watch=kill_at(5))
    train.run(again, rows(again), PLAN, tmp_path / "cut")
    assert same(weights(again), weights(whole))


def test_stopping_early_keeps_the_best(fresh: Callable[[str], Loaded], tmp_path: Path) -> None:
    loaded = fresh("llama")
    seen: list[dict[str, torch.Tensor]] = []
    scores = [0.2, 0.9, 0.5, 0.4, 0.95]

    def held() -> float:
        seen.append(weights(loaded))
        return scores[len(seen) - 1]

    plan = train.TrainConfig(learning_rate=1e-2, epochs=5, batch=5, patience=2)
    found = train.run(loaded, rows(loaded), plan, tmp_path / "work", validate=held)
    assert found.scores == (0.2, 0.9, 0.5, 0.4), "two epochs without a better score are enough"
    assert same(weights(loaded), seen[1])


def test_the_best_is_kept_through_a_kill(fresh: Callable[[str], Loaded], tmp_path: Path) -> None:
    scores = [0.9, 0.5, 0.4, 0.3]

    def go(loaded: Loaded, folder: str, calls: list[int], watch: train.Watch = train.Watch()) -> None:
        def held() -> float:
            calls.append(1)
            return scores[len(calls) - 1]

        plan = train.TrainConfig(learning_rate=1e-2, epochs=4, batch=5, patience=2)
        train.run(loaded, rows(loaded), plan, tmp_path / folder, validate=held, watch=watch)

    whole, killed, again = fresh("llama"), fresh("llama"), fresh("llama")
    go(whole, "whole", [])
    calls: list[int] = []
    with pytest.raises(Killed):
        go(killed, "cut", calls, kill_at(5))
    go(again, "cut", calls)
    assert len(calls) == 3
    assert same(weights(again), weights(whole))


def test_the_deadline_stops_training_and_keeps_what_was_done(fresh: Callable[[str], Loaded], tmp_path: Path) -> None:
    loaded, late = fresh("llama"), {"now": math.inf}

    class Clock(train.Watch):
        @property
        def deadline(self) -> float:  # type: ignore[override]
            return late["now"]

    def step(done: int, total: int, loss: float) -> None:
        if done == 4:
            late["now"] = time.monotonic() - 1

    watch = Clock.__new__(Clock)
    object.__setattr__(watch, "step", step)
    with pytest.raises(BudgetError, match=r"step 4 of 9"):
        train.run(loaded, rows(loaded), PLAN, tmp_path / "work", watch=watch)
    assert [path.name for path in (tmp_path / "work").glob("checkpoint-*")] == ["checkpoint-4"]


def test_rows_from_which_nothing_is_learnt_are_refused(fresh: Callable[[str], Loaded], tmp_path: Path) -> None:
    loaded = fresh("llama")
    good = rows(loaded, 2)
    silent = Row(good[0].tokens, (False,) * len(good[0].tokens))
    endless = Row(good[0].tokens[:-1], good[0].targets[:-1])
    for given, message in (([], "no row"), ([*good, silent], "training row 3"), ([endless], "end token")):
        with pytest.raises(DataError, match=message):
            train.run(loaded, given, PLAN, tmp_path / "work")


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: not enough memory: you tried")])
def test_out_of_memory_halves_the_parts_and_not_the_gradient(
    fresh: Callable[[str], Loaded], tmp_path: Path, error: Exception
) -> None:
    """The first part of a step is computed, the second is too large: nothing of the first may be counted twice."""
    small, whole = fresh("llama"), fresh("llama")
    calls: list[int] = []

    def hungry(model: Any, part: Sequence[Row], trees: bool) -> torch.Tensor:
        calls.append(len(part))
        if len(calls) == 2:
            raise error
        return losses.sft(model, part, trees)

    plan = train.TrainConfig(learning_rate=1e-2, epochs=1, batch=32, tokens=300)
    assert len(tree.split_rows(rows(whole, 32), range(32), 300)) > 1
    said: list[str] = []
    train.run(small, rows(small, 32), plan, tmp_path / "small", loss=hungry, watch=train.Watch(say=said.append))
    assert said == ["out of memory: continuing with 150 tokens per pass"]
    train.run(whole, rows(whole, 32), plan, tmp_path / "whole")
    assert max(calls[2:]) < max(calls[:2])
    for name, value in weights(whole).items():
        torch.testing.assert_close(weights(small)[name], value, rtol=1e-4, atol=1e-5)


def test_the_held_score_is_looked_at_so_often_and_after_the_last_step(fresh: Callable[[str], Loaded], tmp_path: Path) -> None:
    loaded, steps = fresh("llama"), []
    plan = train.TrainConfig(learning_rate=1e-2, epochs=1, batch=2, patience=9, evaluations=3)
    watch = train.Watch(step=lambda done, *_: steps.append(done))
    looked: list[int] = []

    def held() -> float:
        looked.append(steps[-1])
        return -float(len(looked))

    found = train.run(loaded, rows(loaded, 14), plan, tmp_path / "work", validate=held, watch=watch)
    assert looked == [3, 6, 7]
    assert found.scores == (-1.0, -2.0, -3.0)


def test_other_errors_are_not_taken_for_a_lack_of_memory(fresh: Callable[[str], Loaded], tmp_path: Path) -> None:
    def broken(model: Any, part: Sequence[Row], trees: bool) -> torch.Tensor:
        raise RuntimeError("shapes do not match")

    loaded = fresh("llama")
    with pytest.raises(RuntimeError, match="shapes"):
        train.run(loaded, rows(loaded), PLAN, tmp_path / "work", loss=broken)


def test_layers_of_adapters_are_merged_in_their_order(
    fresh: Callable[[str], Loaded], base: Callable[[str], Path], machine: Any, tmp_path: Path
) -> None:
    """Two adapters, the second trained on the first merged in; whole weights on top need nothing below them."""
    first = fresh("llama")
    first = replace(first, model=adapters.lora(first.model, 2, 4, 0.0, 0))
    train.run(first, rows(first), PLAN, tmp_path / "work")
    first.model.save_pretrained(tmp_path / "first")
    second = load(base("llama"), machine, str(tmp_path / "first"))
    second = replace(second, model=adapters.lora(second.model, 2, 4, 0.0, 1))
    train.run(second, rows(second)[::-1], PLAN, tmp_path / "work")
    second.model.save_pretrained(tmp_path / "second")
    fits.link_previous(tmp_path / "second", str(tmp_path / "first"))
    opened = load(base("llama"), machine, str(tmp_path / "second"))
    opened.model.save_pretrained(tmp_path / "whole")
    opened.chat.tokenizer.save_pretrained(tmp_path / "whole")
    whole = load(tmp_path / "no-base", machine, str(tmp_path / "whole"))
    with torch.no_grad():
        wanted, merged, kept = (losses.sft(model.model, rows(second), True) for model in (second, opened, whole))
    torch.testing.assert_close(merged, wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(kept, merged)


def test_another_loss_can_be_given(fresh: Callable[[str], Loaded], tmp_path: Path) -> None:
    loaded = fresh("llama")
    calls: list[int] = []

    def loss(model: Any, part: Sequence[Row], trees: bool) -> torch.Tensor:
        calls.append(len(part))
        return losses.sft(model, part, trees)

    train.run(loaded, rows(loaded), train.TrainConfig(learning_rate=1e-3, epochs=1, batch=4), tmp_path / "work", loss=loss)
    assert sum(calls) == 10


@pytest.mark.parametrize("kind", ["llama", "gemma3", "gpt2"])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_lora_computes_what_peft_computes(fresh: Callable[[str], Loaded], kind: str, dropout: float) -> None:
    from peft import LoraConfig, get_peft_model

    ours = fresh(kind)
    given = rows(ours)
    config = LoraConfig(r=3, lora_alpha=7, lora_dropout=dropout, target_modules="all-linear", task_type="CAUSAL_LM")
    models = [adapters.lora(ours.model, 3, 7, dropout, 0), get_peft_model(fresh(kind).model, config)]
    found = []
    for model in models:
        torch.manual_seed(1)
        for name, parameter in model.named_parameters():
            if "lora_" in name:  # B is zero at first, which would hide what it does
                torch.nn.init.normal_(parameter, std=0.3)
        model.train()
        loss = losses.sft(model, given, True)
        loss.backward()
        grads = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
        found.append((loss.detach(), grads))
        assert grads
        assert all("lora_" in name for name in grads)
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-5, atol=1e-5)
    assert found[0][1].keys() == found[1][1].keys()
    for name, grad in found[0][1].items():
        assert (grad - found[1][1][name]).norm() <= 1e-4 * found[1][1][name].norm(), name


def test_lora_beside_bfloat16_weights_is_kept_in_float32(fresh: Callable[[str], Loaded]) -> None:
    """Computed in bfloat16 as the weights are, with a gradient near that of peft, which computes the factors in float32."""
    from peft.tuners.lora import Linear

    loaded = fresh("llama")
    model = adapters.lora(loaded.model.bfloat16(), 3, 7, 0.0, 0)
    layer = next(module for module in model.modules() if type(module) is Linear)
    torch.manual_seed(1)
    factors = [part["default"].weight for part in (layer.lora_A, layer.lora_B)]
    for factor in factors:
        assert factor.dtype == torch.float32
        torch.nn.init.normal_(factor, std=0.3)
    x = torch.randn(5, layer.in_features).bfloat16()
    found = []
    for forward in (layer.forward, lambda x: Linear.forward(layer, x)):
        model.zero_grad()
        out = forward(x)
        assert out.dtype == torch.bfloat16
        out.float().square().sum().backward()
        found.append([out.detach().float(), *(factor.grad.clone() for factor in factors)])
    for ours, theirs in zip(*found):
        assert (ours - theirs).norm() <= 0.02 * theirs.norm()
    assert factors[0].grad.dtype == torch.float32


def test_a_saved_adapter_answers_as_the_model_did_in_training(
    fresh: Callable[[str], Loaded], base: Callable[[str], Path], machine: Any, tmp_path: Path
) -> None:
    loaded = fresh("llama")
    adapted = Loaded(adapters.lora(loaded.model, 2, 4, 0.0, 0), loaded.chat, loaded.trees, loaded.context)
    train.run(adapted, rows(adapted), PLAN, tmp_path / "work")
    adapted.model.save_pretrained(tmp_path / "adapter")
    opened = load(base("llama"), machine, str(tmp_path / "adapter"))
    with torch.no_grad():
        wanted, got = (losses.sft(model.model, rows(adapted), True) for model in (adapted, opened))
        untouched = losses.sft(fresh("llama").model, rows(adapted), True)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)
    assert abs(untouched - wanted) > 1


@pytest.mark.slow
def test_the_loss_is_that_of_trl(fresh: Callable[[str], Loaded], tmp_path: Path) -> None:
    trl = pytest.importorskip("trl")
    datasets = pytest.importorskip("datasets")
    ours, theirs = fresh("llama"), fresh("llama")
    theirs.model.set_attn_implementation("sdpa")
    given = rows(ours)
    table = [{"input_ids": list(row.tokens), "completion_mask": [int(t) for t in row.targets]} for row in given]
    trainer = trl.SFTTrainer(
        model=theirs.model,
        args=trl.SFTConfig(
            output_dir=str(tmp_path / "trl"),
            per_device_train_batch_size=len(given),
            max_steps=2,
            learning_rate=1e-3,
            warmup_steps=0,
            lr_scheduler_type="cosine",
            logging_steps=1,
            use_cpu=True,
            bf16=False,
            report_to="none",
            save_strategy="no",
            gradient_checkpointing=False,
            completion_only_loss=True,
        ),
        train_dataset=datasets.Dataset.from_list(table),
        processing_class=theirs.chat.tokenizer,
    )
    trainer.train()
    wanted = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    plan = train.TrainConfig(learning_rate=1e-3, epochs=2, batch=len(given))
    found = train.run(ours, given, plan, tmp_path / "work")
    assert found.losses == pytest.approx(wanted, rel=1e-4)
