"""A reward model: the base with a scalar head, trained on pairs. https://arxiv.org/abs/2203.02155"""

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


def with_reward_head(loaded: Loaded, seed: int) -> tuple[Loaded, str]:
    """The model with an untrained scalar head in place of its output head, and the new head's name."""
    model = loaded.model
    old = model.get_output_embeddings()
    torch.manual_seed(seed)
    head = torch.nn.Linear(old.weight.shape[1], 1, bias=False, device=old.weight.device, dtype=old.weight.dtype)
    torch.nn.init.normal_(head.weight, std=(old.weight.shape[1] + 1) ** -0.5)
    model.config.tie_word_embeddings = False
    model.set_output_embeddings(head)
    return loaded, next(name for name, module in model.named_modules() if module is head)


def row_rewards(model: Any, rows: Sequence[Row], trees: bool) -> torch.Tensor:
    """The head's output at the last token of each row; (S,)."""
    # a last token is not a node of a tree, since it predicts nothing: an extra target makes it one
    marked = [Row((*row.tokens, row.tokens[-1]), (*(False,) * len(row.tokens), True)) for row in rows]
    if not trees:
        return padded_logits(model, marked)[0][:, 0]
    merged = build(marked)
    logits, place = tree_logits(model, merged)
    return logits[place[torch.from_numpy(merged.pair_target).to(place.device)], 0]


def bradley_terry(model: Any, items: Sequence[Pair], trees: bool) -> torch.Tensor:
    """Bradley-Terry loss: minus the summed log-probability that the better answer of each pair wins."""
    rewards = row_rewards(model, [row for pair in items for row in pair.rows], trees).view(-1, 2)
    return -logsigmoid(rewards[:, 0] - rewards[:, 1]).sum()


def save(loaded: Loaded, files: Path) -> None:
    """Write adapter and head, as safetensors, into the fit folder `files`."""
    adapters.save(loaded.model, files / fits.REWARD_MODEL)


class RewardModel:
    """A saved reward model. `layer`: a folder from `rung.lm.models.fits.reward_model`."""

    def __init__(self, base: Path, machine: Machine, layer: Path):
        loaded, _ = with_reward_head(load(base, machine, str(layer)), 0)
        self.loaded = replace(loaded, model=adapters.restore(loaded.model, layer / fits.REWARD_MODEL))
        self.loaded.model.eval()

    def __call__(self, rows: Sequence[Row], tokens: int = 2048) -> list[float]:
        """A reward for each question with its answer, higher is better; only differences are meaningful."""
        return preferences.score_rows(self.loaded, rows, tokens, of=row_rewards)
