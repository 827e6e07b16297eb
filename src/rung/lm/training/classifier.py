"""An encoder fine-tuned with a classification head, and its engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rung.lm.inference.encoder import EncoderEngine, OtherLabel, load_other
from rung.lm.models import onednn_linear, opening
from rung.lm.models.chat import Chat
from rung.lm.models.load import Loaded
from rung.lm.quiet import quiet
from rung.lm.training import train
from rung.lm.trees.tree import Row
from rung.machine import Machine

BATCH_TEXTS = 32
"""Texts per forward pass, of similar length."""


@dataclass(frozen=True)
class Labelled:
    """One text to train on, with the index of its label."""

    row: Row
    label: int


def with_new_head(folder: Path, labels: Sequence[str], machine: Machine, seed: int) -> Loaded:
    """An encoder with an untrained head for the labels, in float32."""
    torch.manual_seed(seed)
    names = dict(enumerate(labels))
    head = {"num_labels": len(labels), "id2label": names, "label2id": {name: i for i, name in names.items()}}
    return _open(folder, machine, opening.load_backbone, **head)


def engine(loaded: Loaded, other: OtherLabel | None = None) -> EncoderEngine:
    """The engine of a loaded classifier, with the labels in its configuration."""
    names = loaded.model.config.id2label
    return EncoderEngine(lambda texts: logits(loaded, texts), [names[i] for i in range(len(names))], other)


def load(folder: Path, machine: Machine) -> EncoderEngine:
    """The engine of a saved classifier."""
    return engine(reopened(folder, machine), load_other(folder))


def reopened(folder: Path, machine: Machine) -> Loaded:
    """A saved classifier with its head."""
    return _open(folder, machine, opening.load_strict)


def tokenize(loaded: Loaded, texts: Sequence[str]) -> list[Row]:
    """Rows of texts, truncated to the encoder's length. No token is a target."""
    rows = loaded.chat.tokenizer(list(texts), truncation=True, max_length=loaded.context).input_ids
    return [Row(tuple(ids), (False,) * len(ids)) for ids in rows]


def count_truncated(loaded: Loaded, texts: Sequence[str]) -> int:
    """How many texts are longer than the encoder's length."""
    with quiet():
        rows = loaded.chat.tokenizer(list(texts)).input_ids
    return sum(len(ids) > loaded.context for ids in rows)


def save(loaded: Loaded, folder: Path) -> None:
    """Write weights, labels and tokenizer in transformers' format."""
    with quiet():
        loaded.model.save_pretrained(folder)  # written into: a fit's workplace
        loaded.chat.tokenizer.save_pretrained(folder)  # written into: a fit's workplace


@torch.no_grad()
def logits(loaded: Loaded, texts: Sequence[str]) -> NDArray[np.float32]:
    """Logits; (texts, labels). Texts of similar length are batched together."""
    loaded.model.eval()
    rows = tokenize(loaded, texts)
    out = np.zeros((len(rows), loaded.model.config.num_labels), np.float32)
    for part in _by_length(rows):
        out[part] = _scores(loaded.model, loaded.chat.tokenizer.pad_token_id, [rows[i] for i in part]).float().cpu().numpy()
    return out


def items(pad: int) -> tuple[train.Items, train.Loss]:
    """Step items of labelled texts, and their loss: the summed cross-entropy of the labels, in nats.

    `pad`: the tokenizer's padding token.
    """

    def loss(model: Any, texts: Sequence[Labelled], trees: bool) -> torch.Tensor:
        total = torch.zeros((), device=model.device)
        for part in _by_length([item.row for item in texts]):
            wanted = torch.tensor([texts[i].label for i in part], device=model.device)
            total = total + cross_entropy(_scores(model, pad, [texts[i].row for i in part]), wanted, reduction="sum")
        return total

    return train.Items(rows=lambda item: (item.row,), weight=len, check=lambda rows, loaded: None), loss


def _open(folder: Path, machine: Machine, load: Callable[..., Any], **head: Any) -> Loaded:
    torch.set_num_threads(machine.threads)
    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        model = load(AutoModelForSequenceClassification, folder, dtype=torch.float32, **head)
    onednn_linear.use_onednn(model, machine)
    # positions of RoBERTa-like models start after the padding token's index
    skipped = getattr(getattr(model.base_model, "embeddings", None), "padding_idx", -1) + 1
    context = min(tokenizer.model_max_length, (getattr(model.config, "max_position_embeddings", None) or 512) - skipped)
    return Loaded(model.to(machine.device).eval(), Chat(tokenizer), False, context)


def _by_length(rows: Sequence[Row]) -> list[list[int]]:
    order = sorted(range(len(rows)), key=lambda i: len(rows[i].tokens))
    return [order[start : start + BATCH_TEXTS] for start in range(0, len(order), BATCH_TEXTS)]


def _scores(model: Any, pad: int, rows: Sequence[Row]) -> torch.Tensor:
    width = max(len(row.tokens) for row in rows)
    ids = torch.tensor([row.tokens + (pad,) * (width - len(row.tokens)) for row in rows], device=model.device)
    real = torch.tensor([[1] * len(row.tokens) + [0] * (width - len(row.tokens)) for row in rows], device=model.device)
    return model(input_ids=ids, attention_mask=real).logits
