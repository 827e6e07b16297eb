"""Log-probabilities of targets under a model, over a prefix tree or a padded batch; both give the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from rung.lm.trees import attention, virtual
from rung.lm.trees.target_logprobs import target_logprobs
from rung.lm.trees.tree import Row, Tree, build


def row_logprobs(model: Any, rows: Sequence[Row], trees: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability of every target, row after row, and the row each belongs to; both (P,)."""
    if trees:
        merged = build(rows)
        logprobs, owner = run_tree(model, merged)[torch.from_numpy(merged.pair_target)], torch.from_numpy(merged.pair_row)
    else:
        logprobs = run_padded(model, rows)
        owner = torch.arange(len(rows)).repeat_interleave(torch.tensor([sum(row.targets) for row in rows]))
    return logprobs, owner.to(logprobs.device)


def answer_logprobs(model: Any, rows: Sequence[Row], trees: bool) -> torch.Tensor:
    """Summed log-probability of each row's targets; (S,)."""
    logprobs, owner = row_logprobs(model, rows, trees)
    return logprobs.new_zeros(len(rows)).index_add(0, owner, logprobs)


def run_tree(model: Any, tree: Tree) -> torch.Tensor:
    """Log-probability of each target of the tree; (T,)."""
    logits, place = tree_logits(model, tree)
    return target_logprobs(logits, place, torch.from_numpy(tree.target_token).to(logits.device))


def tree_logits(model: Any, tree: Tree) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (P, vocabulary), computed only at nodes that predict a target, and each target's row in them, (T,)."""
    device = next(model.parameters()).device
    heads, place = np.unique(tree.target_node, return_inverse=True)
    before = np.arange(virtual.size(model))
    depth = tree.depth + len(before)
    mask = np.concatenate([np.ones((len(depth), len(before)), bool), tree.mask], 1) if len(before) else tree.mask
    logits = virtual.base(model)(
        input_ids=torch.from_numpy(tree.tokens)[None].to(device),
        position_ids=torch.from_numpy(depth)[None].to(device),
        past_key_values=virtual.cache(virtual.keys_values(model)),
        blocks=attention.blocks(mask, depth, np.concatenate([before, depth]), device),
        logits_to_keep=torch.from_numpy(heads).to(device),
        use_cache=False,
    ).logits.squeeze(0)  # not indexed: the gradient of an index is a second array of zeros with a part filled in
    # one node may predict several targets, and targets need not be in the order of their nodes
    return logits, torch.from_numpy(place).to(device)


def run_padded(model: Any, rows: Sequence[Row]) -> torch.Tensor:
    """Log-probability of every target, row after row; (P,). For models that do not support trees."""
    logits, targets = padded_logits(model, rows)
    return target_logprobs(logits, torch.arange(len(targets), device=logits.device), targets)


def padded_logits(model: Any, rows: Sequence[Row]) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits at every position that predicts a target, (P, vocabulary), and the targets (P,)."""
    device = next(model.parameters()).device
    width = max(len(row.tokens) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    real = torch.zeros(len(rows), width, dtype=torch.long)
    marks = torch.zeros(len(rows), width, dtype=torch.bool)
    for i, row in enumerate(rows):
        ids[i, : len(row.tokens)] = torch.tensor(row.tokens)
        real[i, : len(row.tokens)] = 1
        marks[i, : len(row.tokens)] = torch.tensor(row.targets)
    ids, real, marks = ids.to(device), real.to(device), marks[:, 1:].to(device)
    logits = model(input_ids=ids, attention_mask=real, use_cache=False).logits[:, -width:-1]  # virtual tokens come first
    return logits[marks], ids[:, 1:][marks]
