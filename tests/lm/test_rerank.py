"""The cross-encoder on a tiny random model: one score a text, whatever stands beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rung.errors import ModelError
from rung.lm.inference.rerank import Reranker
from rung.machine import Machine


def cross_encoder(folder: Path, labels: int) -> Path:
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghijklmnopqrstuvwxyz", *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz")]
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=64, num_labels=labels, initializer_range=1.0,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


def test_a_score_for_each_text_and_none_depends_on_its_neighbours(tmp_path: Path, machine: Machine) -> None:
    reranker = Reranker(cross_encoder(tmp_path / "model", 1), machine)
    texts = ["a parcel", "a very long text about " + "dragons " * 5, "b"]
    together = reranker("which parcel", texts)
    assert together == pytest.approx([reranker("which parcel", [text])[0] for text in texts], abs=1e-5)
    assert len(set(together)) == 3 and reranker("x", []) == []


def test_a_classifier_is_no_reranker(tmp_path: Path, machine: Machine) -> None:
    with pytest.raises(ModelError, match="one output, got 3"):
        Reranker(cross_encoder(tmp_path / "model", 3), machine)
