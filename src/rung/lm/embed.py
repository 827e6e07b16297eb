"""Sentence embeddings: texts to unit vectors, each text embedded once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rung.lm.quiet import quiet
from rung.machine import Machine


class Embedder:
    """A sentence-transformers model in memory. Vectors are float32 of length one, so a dot product is the cosine."""

    def __init__(self, folder: Path, machine: Machine):
        import torch
        from sentence_transformers import SentenceTransformer

        torch.set_num_threads(machine.threads)
        with quiet():
            self.model: Any = SentenceTransformer(
                str(folder), device=machine.device, trust_remote_code=False, model_kwargs={"use_safetensors": True}
            )

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(len(texts), width); batches are sorted by length, repeated texts are computed once."""
        unique = list(dict.fromkeys(texts))
        vectors = self.model.encode(unique, batch_size=64, normalize_embeddings=True, show_progress_bar=False)
        place = {text: i for i, text in enumerate(unique)}
        return np.asarray(vectors, np.float32)[[place[text] for text in texts]]

    def count(self, text: str) -> int:
        """Tokens of a text as this model reads it, all of them, without its begin and end marks."""
        return len(self.model.tokenizer.encode(text, add_special_tokens=False, truncation=False, verbose=False))

    @property
    def longest(self) -> int:
        """Tokens of a text that it reads; the rest of a longer one is cut off."""
        return int(self.model.max_seq_length or 2**31) - self.model.tokenizer.num_special_tokens_to_add()


def nearest(pool: NDArray[np.float32], queries: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Row numbers of the k nearest of the pool for each query, nearest first; (queries, k)."""
    scores = queries @ pool.T
    k = min(k, pool.shape[0])
    top = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    order = np.argsort(-np.take_along_axis(scores, top, 1), axis=1, kind="stable")
    return np.take_along_axis(top, order, 1)
