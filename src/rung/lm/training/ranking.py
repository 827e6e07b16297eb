"""A cross-encoder tuned so that it scores the passage that answers a question above those that a search ranks high wrongly.

Each question is compared with its right passage and a few wrong ones at once: the localized contrastive estimation of
https://arxiv.org/abs/2101.08751, whose wrong passages are likewise what the search in use finds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rung.lm.inference.rerank import PAIR_TOKENS, check_outputs
from rung.lm.models.load import Loaded
from rung.lm.training import classifier, train
from rung.lm.trees.tree import Row
from rung.machine import Machine


@dataclass(frozen=True)
class CandidateList:
    """A question with its right passage, which is the first, and wrong ones, as tokenized pairs."""

    pairs: tuple[dict[str, list[int]], ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        """For the count of tokens; no token is a target."""
        return tuple(Row(tuple(pair["input_ids"]), (False,) * len(pair["input_ids"])) for pair in self.pairs)


def load(folder: Path, machine: Machine, seed: int, *, headed: bool) -> Loaded:
    """A cross-encoder with the head that it has (`headed`), or an encoder under a new head with one output; float32.

    Raises ModelError for a head with more than one output.
    """
    loaded = classifier.reopened(folder, machine) if headed else classifier.with_new_head(folder, ["relevant"], machine, seed)
    check_outputs(loaded.model.config.num_labels, folder)
    loaded.chat.tokenizer.model_max_length = min(loaded.context, PAIR_TOKENS)  # saved, so that answering cuts alike
    return loaded


def candidate_lists(loaded: Loaded, given: Sequence[tuple[str, Sequence[str]]]) -> list[CandidateList]:
    """From questions, each with its texts, the right one first."""
    return [CandidateList(tuple(_pairs(loaded, question, texts))) for question, texts in given]


def items(loaded: Loaded) -> tuple[train.Items, train.Loss]:
    """Step items of candidate lists, and their loss: minus the log-probability of the right passage in its list, in nats."""
    tokenizer = loaded.chat.tokenizer

    def loss(model: Any, given: Sequence[CandidateList], trees: bool) -> torch.Tensor:
        scores = _scores(model, tokenizer, [pair for one in given for pair in one.pairs])
        parts = scores.split([len(one.pairs) for one in given])
        return torch.stack([part.logsumexp(0) - part[0] for part in parts]).sum()

    return train.Items(rows=lambda one: one.rows, weight=len, check=lambda rows, loaded: None), loss


def scorer(loaded: Loaded, given: Sequence[tuple[str, Sequence[str]]]) -> Callable[[], list[NDArray[np.float32]]]:
    """A function that scores the texts of each question with the weights as they are then: logits, (texts,) each."""
    pairs = [pair for question, texts in given for pair in _pairs(loaded, question, texts)]
    cuts = np.cumsum([len(texts) for _, texts in given])[:-1]
    order = sorted(range(len(pairs)), key=lambda i: len(pairs[i]["input_ids"]))
    parts = [order[start : start + classifier.BATCH_TEXTS] for start in range(0, len(order), classifier.BATCH_TEXTS)]

    @torch.no_grad()
    def score() -> list[NDArray[np.float32]]:
        loaded.model.eval()
        found = np.zeros(len(pairs), np.float32)
        for part in parts:
            found[part] = _scores(loaded.model, loaded.chat.tokenizer, [pairs[i] for i in part]).float().cpu().numpy()
        return np.split(found, cuts)

    return score


def _pairs(loaded: Loaded, question: str, texts: Sequence[str]) -> list[dict[str, list[int]]]:
    if not texts:
        return []
    tokenizer = loaded.chat.tokenizer
    read = tokenizer([question] * len(texts), list(texts), truncation=True, max_length=tokenizer.model_max_length)
    return [{name: read[name][i] for name in read} for i in range(len(texts))]


def _scores(model: Any, tokenizer: Any, pairs: Sequence[dict[str, list[int]]]) -> torch.Tensor:
    return model(**tokenizer.pad(list(pairs), return_tensors="pt").to(model.device)).logits[:, 0]
