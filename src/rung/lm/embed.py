"""Sentence embeddings: texts to unit vectors, each text embedded once."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rung.lm.quiet import quiet
from rung.machine import Machine

BATCH = 32


class Embedder:
    """A sentence-transformers model in memory. Vectors are float32 of length one, so a dot product is the cosine."""

    def __init__(self, folder: Path, machine: Machine):
        import torch
        from sentence_transformers import SentenceTransformer

        torch.set_num_threads(machine.threads)
        self.threads = machine.threads if machine.device == "cpu" else 1
        with quiet():
            self.model: Any = SentenceTransformer(
                str(folder), device=machine.device, trust_remote_code=False, model_kwargs={"use_safetensors": True}
            )

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(len(texts), width); batches are sorted by length, repeated texts are computed once.

        On a CPU each core takes batches of its own: a small model's layers are too short to be worth dividing, and cores
        that wait for each other at every layer took twice the processor time.
        """
        unique = list(dict.fromkeys(texts))
        parts = self.threads if len(unique) >= self.threads * BATCH else 1
        order = sorted(range(len(unique)), key=lambda i: len(unique[i]))
        shares = [[unique[i] for i in order[start::parts]] for start in range(parts)]
        found = dict(zip((text for share in shares for text in share), np.concatenate(self._shares(shares))))
        return np.asarray([found[text] for text in texts], np.float32)

    def _shares(self, shares: Sequence[list[str]]) -> list[NDArray[np.float32]]:
        def encode(share: list[str]) -> NDArray[np.float32]:
            return self.model.encode(share, batch_size=BATCH, normalize_embeddings=True, show_progress_bar=False)

        if len(shares) == 1:
            return [encode(shares[0])]
        import torch

        self.model.preprocess(shares[0][:1])  # sets the tokenizer up: done in two threads at once, it fails
        with ThreadPoolExecutor(len(shares), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            try:
                return list(pool.map(encode, shares))
            finally:
                torch.set_num_threads(self.threads)  # what a thread sets counts for all that are started later

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
