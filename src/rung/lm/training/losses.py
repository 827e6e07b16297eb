"""Losses over prefix trees. Each maps the model and the rows of one part of a step to a sum, scaled by the caller."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from rung.lm.trees import tree
from rung.lm.trees.forward import run_padded, run_tree
from rung.lm.trees.tree import Row


def sft(model: Any, rows: Sequence[Row], trees: bool) -> torch.Tensor:
    """Weighted sum of the cross-entropy of all targets, in nats.

    Divided by the `weight` of the whole step, it is the padded batch's mean over tokens, however the step is split.
    """
    if trees:
        merged = tree.build(rows)
        logprobs = run_tree(model, merged)
        weight = torch.from_numpy(merged.target_weight)
    else:
        logprobs = run_padded(model, rows)
        weight = torch.tensor([row.weight for row in rows]).repeat_interleave(torch.tensor([sum(row.targets) for row in rows]))
    return -(logprobs * weight.to(logprobs)).sum()


def weight(rows: Sequence[Row]) -> float:
    """Total weight of a step's targets."""
    return sum(row.weight * sum(row.targets) for row in rows)
