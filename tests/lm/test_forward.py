"""Log-probabilities and gradients over a tree against each sequence computed alone, for every shape of model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rung.lm.training import losses
from rung.lm.trees import tree
from rung.lm.trees.forward import run_padded, run_tree
from rung.lm.trees.tree import Row

TREES = ["llama", "qwen2", "qwen3", "mistral", "gemma3", "gpt2"]
PLAIN = ["bloom", "mamba"]


@st.composite
def some_rows(draw: st.DrawFn, longest: int = 10) -> list[Row]:
    """Rows behind a shared front, which branch again within; some equal, some a front of another."""
    front = draw(st.lists(st.integers(0, 299), max_size=12))
    rows = []
    for _ in range(draw(st.integers(1, 5))):
        tokens = front + draw(st.lists(st.sampled_from([7, 8, 150]), min_size=2, max_size=longest))
        marks = draw(st.lists(st.booleans(), min_size=len(tokens) - 2, max_size=len(tokens) - 2))
        rows.append(Row(tuple(tokens), (False, *marks, True), draw(st.sampled_from([0.5, 1.0]))))
    return rows


def alone(model: Any, row: Row) -> torch.Tensor:
    """Log-probabilities of a row's targets by the plainest call there is."""
    logs = model(torch.tensor([row.tokens])).logits[0].float().log_softmax(-1)
    return torch.stack([logs[k - 1, row.tokens[k]] for k, marked in enumerate(row.targets) if marked])


def gradient(model: Any, loss: torch.Tensor) -> torch.Tensor:
    found = torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad], allow_unused=True)
    flat = [g.flatten() for g in found if g is not None]
    assert flat
    return torch.cat(flat)


def close(a: torch.Tensor, b: torch.Tensor, relative: float = 1e-5) -> None:
    assert (a - b).norm() <= relative * b.norm() + 1e-12


@pytest.mark.parametrize("kind", TREES)
def test_architectures_that_take_trees_are_found_out(loaded: Callable, kind: str) -> None:
    assert loaded(kind).trees


@pytest.mark.parametrize("kind", PLAIN)
def test_architectures_that_cannot_are_found_out(loaded: Callable, kind: str) -> None:
    assert not loaded(kind).trees


@pytest.mark.parametrize("kind", TREES)
@settings(deadline=None, max_examples=12)
@given(rows=some_rows())
def test_a_tree_gives_what_each_row_gives_alone(exact: Callable, kind: str, rows: list[Row]) -> None:
    model, plain = exact(kind)
    merged = tree.build(rows)
    found = run_tree(model, merged)
    wanted = torch.cat([alone(plain, row) for row in rows])
    close(found[torch.from_numpy(merged.pair_target)], wanted)

    weights = torch.cat([torch.full((sum(row.targets),), row.weight) for row in rows])
    close(gradient(model, losses.sft(model, rows, True)), gradient(plain, -(wanted * weights).sum()))


@pytest.mark.parametrize("kind", ["llama", "gemma3", "gpt2", *PLAIN])
@settings(deadline=None, max_examples=8)
@given(rows=some_rows())
def test_a_padded_batch_gives_what_each_row_gives_alone(loaded: Callable, exact: Callable, kind: str, rows: list[Row]) -> None:
    model = exact(kind)[1] if loaded(kind).trees else loaded(kind).model
    found = run_padded(model, rows)
    wanted = torch.cat([alone(model, row) for row in rows])
    close(found, wanted)
    weights = torch.cat([torch.full((sum(row.targets),), row.weight) for row in rows])
    close(losses.sft(model, rows, False), -(wanted * weights).sum())


@pytest.mark.parametrize("kind", TREES)
def test_both_paths_have_one_loss_and_one_gradient(exact: Callable, kind: str) -> None:
    model, plain = exact(kind)
    rows = [Row((*range(10, 40), i, i + 1, 2), (False,) * 30 + (True,) * 3, 1.0 + i % 2) for i in range(100, 120)]
    over_tree, padded = losses.sft(model, rows, True), losses.sft(plain, rows, False)
    close(over_tree, padded)
    close(gradient(model, over_tree), gradient(plain, padded))


def test_the_loss_is_the_cross_entropy_of_transformers(loaded: Callable) -> None:
    model = loaded("llama-plain").model
    rows = [Row((5, 6, 7, 8, 2), (False, False, True, True, True)), Row((5, 6, 9, 2), (False, False, True, True))]
    ids = torch.tensor([[5, 6, 7, 8, 2], [5, 6, 9, 2, 0]])
    labels = torch.tensor([[-100, -100, 7, 8, 2], [-100, -100, 9, 2, -100]])
    implementation = model.config._attn_implementation
    model.set_attn_implementation("sdpa")
    wanted = model(ids, attention_mask=torch.tensor([[1] * 5, [1] * 4 + [0]]), labels=labels).loss
    model.set_attn_implementation(implementation)
    close(losses.sft(model, rows, True) / losses.weight(rows), wanted)


def test_a_window_reaches_back_along_the_branch_not_along_the_row(exact: Callable) -> None:
    """Forty branches of two tokens lie between the front and the last one: counted along the row, none of it were seen."""
    model, plain = exact("mistral")
    rows = [Row((5, 6, 7, 100 + i, 8, 9), (False, False, False, False, True, True)) for i in range(40)]
    merged = tree.build(rows)
    found = run_tree(model, merged)[torch.from_numpy(merged.pair_target)]
    close(found, torch.cat([alone(plain, row) for row in rows]))


def test_targets_whose_nodes_stand_out_of_order_keep_their_own_odds(exact: Callable) -> None:
    """The second row's first target is predicted by the shared node, which stands before the first row's last one."""
    model, plain = exact("llama")
    rows = [Row((5, 7, 9), (False, False, True)), Row((5, 8, 9), (False, True, True))]
    merged = tree.build(rows)
    found = run_tree(model, merged)[torch.from_numpy(merged.pair_target)]
    close(found, torch.cat([alone(plain, row) for row in rows]))
