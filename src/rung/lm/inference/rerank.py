"""Cross-encoders: score how well a passage answers a question, from both texts together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rung.errors import ModelError
from rung.lm.quiet import quiet
from rung.machine import Machine

PAIR_TOKENS = 256
"""Most tokens of a question and a passage together that a tuned one reads; of more, the longer text is cut first, at its end."""


class Reranker:
    """A sentence-transformers cross-encoder in memory. Its scores rank the passages of one question; they are logits.

    Passage re-ranking with BERT: https://arxiv.org/abs/1901.04085. Raises ModelError for a model with more than one output.
    """

    def __init__(self, folder: Path, machine: Machine):
        import torch
        from sentence_transformers import CrossEncoder

        from rung.lm.models import onednn_linear, opening

        torch.set_num_threads(machine.threads)
        with quiet(), opening.model_errors(folder):
            self.model: Any = CrossEncoder(
                str(folder), device=machine.device, trust_remote_code=False, model_kwargs={"use_safetensors": True}
            )
        opening.check_modules(self.model, folder, headed=True)
        onednn_linear.use_onednn(self.model, machine)
        check_outputs(self.model.num_labels, folder)

    def __call__(self, question: str, texts: Sequence[str]) -> list[float]:
        """A score for each text, higher is better; batches are sorted by length."""
        if not texts:
            return []
        from torch.nn import Identity

        pairs = [(question, text) for text in texts]
        return [float(score) for score in self.model.predict(pairs, activation_fn=Identity(), show_progress_bar=False)]


def check_outputs(count: int, folder: Path) -> None:
    """ModelError for a cross-encoder that gives a pair of texts several scores, such as one for entailment."""
    if count != 1:
        raise ModelError(
            f"a reranker must have one output, got {count}.",
            where=str(folder),
            remedy="Name a cross-encoder for ranking, such as cross-encoder/ms-marco-MiniLM-L6-v2.",
        )
