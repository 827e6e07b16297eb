"""A reward model: a head of one number on the base, trained on pairs. https://arxiv.org/abs/2203.02155"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import logsigmoid

from rung.lm.models import adapters, fits
from rung.lm.models.load import Loaded, load
from rung.lm.training import preferences
from rung.lm.training.preferences import Pair
from rung.lm.trees.forward import padded_logits, tree_logits
from rung.lm.trees.tree import Row, build
from rung.machine import Machine


def headed(loaded: Loaded, seed: int) -> tuple[Loaded, str]:
    """The model with a new head of one number in place of the one over the vocabulary, and the head's name."""
    model = loaded.model
    old = model.get_output_embeddings()
    torch.manual_seed(seed)
    head = torch.nn.Linear(old.weight.shape[1], 1, bias=False, device=old.weight.device, dtype=old.weight.dtype)
    torch.nn.init.normal_(head.weight, std=(old.weight.shape[1] + 1) ** -0.5)
    model.config.tie_word_embeddings = False
    model.set_output_embeddings(head)
    return loaded, next(name for name, module in model.named_modules() if module is head)


def worth(model: Any, rows: Sequence[Row], trees: bool) -> torch.Tensor:
    """What the head says at the last token of each row; (S,)."""
    # a last token is no node of a tree, for nothing is asked of it: one more makes it one
    marked = [Row((*row.tokens, row.tokens[-1]), (*(False,) * len(row.tokens), True)) for row in rows]
    if not trees:
        return padded_logits(model, marked)[0][:, 0]
    merged = build(marked)
    logits, place = tree_logits(model, merged)
    return logits[place[torch.from_numpy(merged.pair_target).to(place.device)], 0]


def better(model: Any, items: Sequence[Pair], trees: bool) -> torch.Tensor:
    """Bradley-Terry: minus the log-probability that each better answer wins, its odds being those of the two numbers."""
    found = worth(model, [row for pair in items for row in pair.rows], trees).view(-1, 2)
    return -logsigmoid(found[:, 0] - found[:, 1]).sum()


def save(loaded: Loaded, files: Path) -> None:
    """Write adapter and head, as safetensors, into the layer `files`."""
    adapters.save(loaded.model, files / fits.REWARD_MODEL)


class RewardModel:
    """A saved reward model. `layer` is a folder that `rung.lm.models.fits.reward_model` found."""

    def __init__(self, base: Path, machine: Machine, layer: Path):
        loaded, _ = headed(load(base, machine, str(layer)), 0)
        self.loaded = replace(loaded, model=adapters.put(loaded.model, layer / fits.REWARD_MODEL))
        self.loaded.model.eval()

    def __call__(self, rows: Sequence[Row], tokens: int = 2048) -> list[float]:
        """A number for each question with its answer, higher for a better one; only their differences mean something."""
        return preferences.logs(self.loaded, rows, tokens, of=worth)
