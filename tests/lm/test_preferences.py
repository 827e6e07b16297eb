"""Losses over pairs and votes: those of TRL, over trees as over padded rows, with no work lost or done twice."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from slowly import slow_but

from rung.errors import BudgetError
from rung.lm.models import adapters
from rung.lm.models.load import Loaded
from rung.lm.training import preferences, train
from rung.lm.training.preferences import Pair
from rung.lm.trees import attention, tree
from rung.lm.trees.tree import Row
from rung.types import Message

PLAN = train.TrainConfig(learning_rate=1e-2, epochs=3, batch=4, seed=5)
LOSSES = ("dpo", "simpo", "orpo", "kto")


def two(loaded: Loaded, count: int = 6) -> list[tuple[Row, Row]]:
    found = []
    for i in range(count):
        prompt = (Message("system", "be short"), Message("user", f"the parcel {i * 7}"))
        found.append((loaded.chat.row(prompt, "refund" + " please" * (i % 3)), loaded.chat.row(prompt, "late" * (1 + i % 2))))
    return found


def aimed(loaded: Loaded, name: str, given: Sequence[tuple[Row, Row]]) -> tuple[list[Any], tuple[train.Loss, train.Items]]:
    """Items of each kind with their reference, and the loss."""
    items: list[Any] = [Pair(*pair) for pair in given]
    if name == "kto":
        items = preferences.votes([(pair[k], k == 0) for k in (0, 1) for pair in given], loaded.max_length)
    if name == "orpo":
        items = [preferences.pair_with_question(*pair) for pair in given]
    if name in ("dpo", "kto"):
        rows = list(dict.fromkeys(row for item in items for row in item.reference_rows))
        items = preferences.with_reference(items, dict(zip(rows, preferences.score_rows(loaded, rows))))
    aims = {
        "dpo": lambda: preferences.dpo(0.3),
        "simpo": lambda: preferences.simpo(2.0, 0.7),
        "orpo": lambda: preferences.orpo(0.2),
        "kto": lambda: preferences.kto(0.3, 1.5, 0.7, loaded),
    }
    return items, aims[name]()


def moved(loaded: Loaded) -> Loaded:
    """The model some way from its reference, so that ratios are not all one."""
    torch.manual_seed(3)
    model = copy.deepcopy(loaded.model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    return replace(loaded, model=model)


def stepped(loaded: Loaded, items: Sequence[Any], aim: tuple[train.Loss, train.Items], trees: bool) -> tuple[float, torch.Tensor]:
    """The loss of a step and its gradient."""
    loss, made = aim
    loaded.model.zero_grad()
    ready = made.prepare(items, 0)
    loaded.model.set_attn_implementation(attention.NAME if trees else "sdpa")
    value = loss(loaded.model, ready, trees) / made.weight(ready)
    value.backward()
    return float(value.detach()), gradient(loaded.model)


def gradient(model: Any) -> torch.Tensor:
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in model.parameters()])


def close(found: tuple[float, torch.Tensor], wanted: tuple[float, torch.Tensor]) -> None:
    assert found[0] == pytest.approx(wanted[0], rel=1e-5)
    assert (found[1] - wanted[1]).norm() <= 1e-5 * wanted[1].norm()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("kind", ["llama", "gemma3"])
def test_a_tree_gives_what_padded_rows_give(fresh: Callable[[str], Loaded], kind: str, name: str) -> None:
    began = fresh(kind)
    now = moved(began)
    items, _ = aimed(began, name, two(began))
    _, aim = aimed(now, name, [])
    close(stepped(now, items, aim, True), stepped(now, items, aim, False))


# --- TRL ---------------------------------------------------------------------------------------------------------------


def settings(folder: Path) -> dict[str, Any]:
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": 12,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "report_to": "none",
        "disable_tqdm": True,
    }


def as_given(trainer: Any) -> Any:
    """A trainer of TRL's that takes rows of tokens as they are."""
    return type("AsGiven", (trainer,), {"_prepare_dataset": lambda self, dataset, *_: dataset})


def halves(row: Row) -> tuple[list[int], list[int]]:
    start = row.targets.index(True)
    return list(row.tokens[:start]), list(row.tokens[start:])


def by_trl(trainer: Any, loss: Callable[[Any, Any], torch.Tensor], batch: Any) -> tuple[float, torch.Tensor]:
    trainer.model.train()
    trainer.model.zero_grad()
    value = loss(trainer.model, batch)
    value.backward()
    return float(value.detach()), gradient(trainer.model)


def plain(loaded: Loaded) -> Any:
    model = copy.deepcopy(loaded.model)
    model.set_attn_implementation("sdpa")
    return model


def test_dpo_is_that_of_trl(fresh: Callable[[str], Loaded], tmp_path: Path) -> None:
    trl, datasets = pytest.importorskip("trl"), pytest.importorskip("datasets")
    began = fresh("llama")
    now, given = moved(began), two(began)
    items, aim = aimed(began, "dpo", given)
    table = [{"prompt_ids": halves(c)[0], "chosen_ids": halves(c)[1], "rejected_ids": halves(r)[1]} for c, r in given]
    trainer = as_given(trl.DPOTrainer)(
        plain(now),
        ref_model=plain(began),
        args=trl.DPOConfig(**settings(tmp_path), beta=0.3, max_length=None),
        train_dataset=datasets.Dataset.from_list(table),
        processing_class=began.chat.tokenizer,
    )
    batch = trainer.data_collator(list(trainer.train_dataset))
    close(stepped(now, items, aim, True), by_trl(trainer, trainer.compute_loss, batch))


def test_kto_is_that_of_trl(fresh: Callable[[str], Loaded], tmp_path: Path) -> None:
    trl, datasets = pytest.importorskip("trl"), pytest.importorskip("datasets")
    began = fresh("llama")
    now, given = moved(began), two(began)
    items, _ = aimed(began, "kto", given)
    aim = preferences.kto(0.3, 1.5, 0.7, now)
    assert aim[1].prepare(items, 0)[0].kl > 0, "a divergence of 0 would leave half of the loss untested"
    table = [
        {"prompt_ids": halves(pair[k])[0], "completion_ids": halves(pair[k])[1], "label": k == 0}
        for k in (0, 1)
        for pair in given
    ]
    for row, before in zip(table, [table[-1], *table]):  # as TRL's own preparation does it
        row["KL_completion_ids"] = before["completion_ids"]
    config = trl.KTOConfig(**settings(tmp_path), beta=0.3, desirable_weight=1.5, undesirable_weight=0.7, max_length=None)
    trainer = as_given(trl.KTOTrainer)(
        plain(now),
        ref_model=plain(began),
        args=config,
        train_dataset=datasets.Dataset.from_list(table),
        processing_class=began.chat.tokenizer,
    )
    batch = trainer.data_collator(list(trainer.train_dataset))
    close(stepped(now, items, aim, True), by_trl(trainer, trainer.compute_loss, batch))


@pytest.mark.parametrize("name", ["orpo", "simpo"])
def test_the_losses_without_a_reference_are_those_of_trl(fresh: Callable[[str], Loaded], tmp_path: Path, name: str) -> None:
    datasets = pytest.importorskip("datasets")
    pytest.importorskip("trl")
    began = fresh("llama")
    given = two(began)
    items, aim = aimed(began, name, given)
    table = datasets.Dataset.from_list([{"prompt": "hi", "chosen": "yes", "rejected": "no"}] * 12)  # only to make the trainer
    if name == "orpo":
        from trl.experimental.orpo import ORPOConfig, ORPOTrainer

        made, config = ORPOTrainer, ORPOConfig(**settings(tmp_path), beta=0.2)
    else:
        from trl.experimental.cpo import CPOConfig, CPOTrainer

        made = CPOTrainer
        config = CPOConfig(**settings(tmp_path), loss_type="simpo", beta=2.0, simpo_gamma=0.7, cpo_alpha=0.0)
    trainer = made(plain(began), args=config, train_dataset=table, processing_class=began.chat.tokenizer)
    batch: dict[str, torch.Tensor] = {}
    for side, rows in (("chosen", [c for c, _ in given]), ("rejected", [r for _, r in given])):
        ids = [torch.tensor(row.tokens) for row in rows]
        labels = [torch.tensor(row.tokens).masked_fill(~torch.tensor(row.targets), -100) for row in rows]
        batch[f"{side}_input_ids"] = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True)
        batch[f"{side}_labels"] = torch.nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=-100)
        ones = [torch.ones_like(one) for one in ids]
        batch[f"{side}_attention_mask"] = torch.nn.utils.rnn.pad_sequence(ones, batch_first=True)
    close(stepped(began, items, aim, True), by_trl(trainer, lambda m, b: trainer.get_batch_loss_metrics(m, b)[0], batch))


# --- training ----------------------------------------------------------------------------------------------------------


def adapted(fresh: Callable[[str], Loaded]) -> Loaded:
    loaded = fresh("llama")
    return replace(loaded, model=adapters.lora(loaded.model, 2, 4, 0.0, 0))


def weights(loaded: Loaded) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in loaded.model.state_dict().items()}


def trained(loaded: Loaded, name: str, folder: Path, **given: Any) -> train.History:
    plan = given.pop("plan", PLAN)
    items, (loss, made) = aimed(loaded, name, two(loaded, given.pop("count", 6)))
    return train.run(loaded, items, plan, folder, loss=given.pop("loss", loss), items=made, **given)


@pytest.mark.parametrize("name", slow_but(["kto", "simpo"], LOSSES))
def test_training_on_pairs_learns(fresh: Callable[[str], Loaded], tmp_path: Path, name: str) -> None:
    loaded = adapted(fresh)
    found = trained(loaded, name, tmp_path / "work", plan=train.TrainConfig(learning_rate=2e-2, epochs=10, batch=6))
    assert found.losses[-1] < 0.9 * found.losses[0]
    better, worse = (preferences.score_rows(loaded, [pair[k] for pair in two(loaded)]) for k in (0, 1))
    assert sum(better) > sum(worse)


@pytest.mark.slow
@pytest.mark.parametrize("name", slow_but(["dpo"], LOSSES))
def test_a_killed_run_goes_on_to_the_same_weights(fresh: Callable[[str], Loaded], tmp_path: Path, name: str) -> None:
    class Killed(Exception):
        pass

    def kill(done: int, total: int, loss: float) -> None:
        if done == 5:
            raise Killed

    whole, cut, again = (adapted(fresh) for _ in range(3))
    trained(whole, name, tmp_path / "whole")
    with pytest.raises(Killed):
        trained(cut, name, tmp_path / "cut", watch=train.Watch(kill))
    trained(again, name, tmp_path / "cut")
    assert all(torch.equal(value, weights(again)[key]) for key, value in weights(whole).items())


@pytest.mark.parametrize("name", slow_but(["kto"], LOSSES))
def test_out_of_memory_halves_the_parts_and_cuts_no_pair(fresh: Callable[[str], Loaded], tmp_path: Path, name: str) -> None:
    small, whole = adapted(fresh), adapted(fresh)
    calls: list[int] = []
    _, (loss, _) = aimed(small, name, [])

    def hungry(model: Any, part: Sequence[Any], trees: bool) -> torch.Tensor:
        calls.append(len(part))
        if len(calls) == 2:
            raise MemoryError
        return loss(model, part, trees)

    plan = train.TrainConfig(learning_rate=1e-2, epochs=1, batch=40, tokens=260)
    said: list[str] = []
    trained(small, name, tmp_path / "small", count=20, plan=plan, loss=hungry, watch=train.Watch(say=said.append))
    trained(whole, name, tmp_path / "whole", count=20, plan=replace(plan, tokens=100_000))
    assert said == ["out of memory: continuing with 130 tokens per pass"]
    for key, value in weights(whole).items():
        torch.testing.assert_close(weights(small)[key], value, rtol=1e-3, atol=1e-5)


def test_a_pair_is_one_part_and_shares_its_question(fresh: Callable[[str], Loaded]) -> None:
    given = two(fresh("llama"))
    assert tree.split_groups(given, range(6), 1) == [[i] for i in range(6)]
    own = [tree.count(pair)[1] for pair in given]
    assert tree.split_groups(given, range(6), own[0] + own[1] - 1)[0][:2] == [0, 1], "the system message is counted once"
    assert sum(own) < sum(len(row.tokens) for pair in given for row in pair)


def test_the_answer_before_is_joined_to_each_question(fresh: Callable[[str], Loaded]) -> None:
    given = two(fresh("llama"), 3)
    marked = [(pair[0], True) for pair in given]
    for vote, (before, _) in zip(preferences.votes(marked, 1024), [marked[-1], *marked]):
        assert halves(vote.mismatched) == (halves(vote.row)[0], halves(before)[1])


def test_a_joined_answer_is_cut_where_the_model_reads_no_further(fresh: Callable[[str], Loaded]) -> None:
    """A long question with a short answer and a short one with a long answer: each fits, and joined they would not."""
    short = fresh("gpt2-short")
    rows = [short.chat.row((Message("user", asked),), answer) for asked, answer in (("z" * 20, "no"), ("?", "q" * 20))]
    assert all(len(row.tokens) <= short.max_length for row in rows)
    found = preferences.votes([(row, True) for row in rows], short.max_length)
    sizes = [len(vote.mismatched.tokens) for vote in found]
    assert sizes == [
        short.max_length,
        len(halves(rows[1])[0]) + len(halves(rows[0])[1]),
    ]
    assert found[0].mismatched.tokens == (*halves(rows[0])[0], *halves(rows[1])[1])[: short.max_length]
    assert len(preferences.score_rows(short, [vote.mismatched for vote in found])) == 2


def test_kto_scores_within_its_own_budget_of_tokens(fresh: Callable[[str], Loaded], monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = fresh("llama")
    asked: list[int] = []
    real = preferences.score_rows

    def watched(loaded: Loaded, rows: Sequence[Row], tokens: int = 2048) -> list[float]:
        asked.append(tokens)
        return real(loaded, rows, tokens)

    monkeypatch.setattr(preferences, "score_rows", watched)
    _, items = preferences.kto(0.1, 1.0, 1.0, loaded, 300)
    items.prepare(preferences.votes([(pair[0], True) for pair in two(loaded)], 1024), 0)
    assert asked == [300]


def test_good_and_bad_votes_count_alike(fresh: Callable[[str], Loaded]) -> None:
    row = two(fresh("llama"), 1)[0][0]
    judged = preferences.votes([(row, True)] * 3 + [(row, False)], 1024)
    assert preferences.balance(judged) == (1.0, 3.0)
    assert preferences.balance(judged[:3]) == (1.0, 1.0)


def test_numbers_are_kept_whole_or_not_at_all(tmp_path: Path) -> None:
    path, calls = tmp_path / "work" / "reference.safetensors", []

    def compute() -> list[float]:
        calls.append(1)
        if len(calls) == 1:
            raise BudgetError("too late")
        return [1.5, -2.25]

    with pytest.raises(BudgetError):
        preferences.cached(path, compute)
    assert preferences.cached(path, compute) == preferences.cached(path, compute) == [1.5, -2.25]
    assert len(calls) == 2


def test_scoring_stops_at_the_deadline(fresh: Callable[[str], Loaded]) -> None:
    loaded = fresh("llama")
    with pytest.raises(BudgetError, match="0 of 2"):
        preferences.score_rows(loaded, two(loaded, 1)[0], deadline=0.0)


def test_odds_of_sure_answers_have_a_gradient() -> None:
    x = torch.tensor([-1e-9, -0.5, -0.6931471805599453, -80.0, 0.0], requires_grad=True)
    found = preferences._log1mexp(x)
    found.sum().backward()
    assert torch.isfinite(found).all()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
