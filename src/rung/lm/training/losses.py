"""Losses over prefix trees. Each takes the model and the rows of one part of a step and returns a sum to be scaled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from rung.lm.trees import tree
from rung.lm.trees.forward import run_padded, run_tree
from rung.lm.trees.tree import Row


def sft(model: Any, rows: Sequence[Row], trees: bool) -> torch.Tensor:
    """Weighted sum of the cross-entropy of all target tokens, in nats.

    Divided by `weight(step)` of the whole step it is the token mean of the padded batch, whatever the parts.
    """
    if trees:
        merged = tree.build(rows)
        found = run_tree(model, merged)
        weight = torch.from_numpy(merged.target_weight)
    else:
        found = run_padded(model, rows)
        weight = torch.tensor([row.weight for row in rows]).repeat_interleave(torch.tensor([sum(row.targets) for row in rows]))
    return -(found * weight.to(found)).sum()


def weight(rows: Sequence[Row]) -> float:
    """Total weight of the targets of a step."""
    return sum(row.weight * sum(row.targets) for row in rows)
