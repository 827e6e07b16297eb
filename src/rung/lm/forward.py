"""Log-probabilities of targets under a model, over a prefix tree or over a padded batch; both give the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from rung.lm import attention
from rung.lm.tree import Row, Tree


def run_tree(model: Any, tree: Tree) -> torch.Tensor:
    """Log-probability of each target of the tree; (T,). The output head runs only where a target is predicted."""
    device = next(model.parameters()).device
    heads, place = np.unique(tree.target_node, return_inverse=True)
    logits = model(
        input_ids=torch.from_numpy(tree.tokens)[None].to(device),
        position_ids=torch.from_numpy(tree.depth)[None].to(device),
        blocks=attention.blocks(tree.mask, tree.depth, tree.depth, device),
        logits_to_keep=torch.from_numpy(heads).to(device),
        use_cache=False,
    ).logits[0]
    # one node may predict several targets, and a target's node may stand before that of the target before it
    logits = logits[torch.from_numpy(place).to(device)]
    return -cross_entropy(logits.float(), torch.from_numpy(tree.target_token).to(device), reduction="none")


def run_padded(model: Any, rows: Sequence[Row]) -> torch.Tensor:
    """Log-probability of every target of every row, rows one after another; (P,). For models that cannot take a tree."""
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
    logits = model(input_ids=ids, attention_mask=real, use_cache=False).logits[:, :-1]
    return -cross_entropy(logits[marks].float(), ids[:, 1:][marks], reduction="none")
