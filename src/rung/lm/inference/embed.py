"""Sentence embeddings: texts to unit vectors, each text embedded once."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rung.lm.inference import few_texts
from rung.lm.quiet import quiet
from rung.machine import Machine

BATCH_TOKENS = {"cpu": 1024}
"""Tokens of a batch, padding included. Few on a CPU, so that activations stay in the cache.

By single trials with 256 to 4,096: 512 and 1,024 were the fastest, and both ends clearly slower.
"""

BATCH_TOKENS_GPU = 8192
"""Tokens of a batch on other devices."""


FEW = 4
"""Texts that are embedded without loading PyTorch, where it is not in memory."""


class Embedder:
    """A sentence-transformers model in memory. Vectors are float32 of length one, so a dot product is the cosine.

    It is loaded at once, but not by a command that has no PyTorch in memory: that may ask for FEW texts alone.
    """

    def __init__(self, folder: Path, machine: Machine):
        self.folder, self.machine = folder, machine
        self.threads = machine.threads if machine.device == "cpu" else 1
        self.tokens = BATCH_TOKENS.get(machine.device, BATCH_TOKENS_GPU)
        self.few = few_texts.read(folder) if "torch" not in sys.modules else None
        if not self.few:
            _ = self.model

    @cached_property
    def model(self) -> Any:
        import torch
        from sentence_transformers import SentenceTransformer

        from rung.lm.models import onednn_linear, opening

        torch.set_num_threads(self.machine.threads)
        with quiet(), opening.model_errors(self.folder):
            model = SentenceTransformer(
                str(self.folder), device=self.machine.device, trust_remote_code=False, model_kwargs={"use_safetensors": True}
            )
        opening.check_modules(model, self.folder)
        onednn_linear.use_onednn(model, self.machine)
        self.few = None
        return model

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(len(texts), width); batches hold texts of similar length, repeated texts are computed once.

        On a CPU each core takes its own batches: a small model's layers are too small to parallelize, and cores
        that wait for each other at every layer took twice the processor time.
        """
        if self.few and 0 < len(texts) <= FEW:
            return self.few.embed(texts)
        batches = list(self._batches(list(dict.fromkeys(texts))))
        found = dict(zip(chain(*batches), chain(*self._encode(batches))))
        return np.asarray([found[text] for text in texts], np.float32)

    def _batches(self, texts: Sequence[str]) -> Iterator[list[str]]:
        """Batches of at most `tokens` once padded to their longest text, shortest texts first."""
        batch: list[str] = []
        for length, text in sorted((min(self.count(text), self.max_length), text) for text in texts):
            if batch and (len(batch) + 1) * length > self.tokens:
                yield batch
                batch = []
            batch.append(text)
        if batch:
            yield batch

    def _encode(self, batches: Sequence[list[str]]) -> list[NDArray[np.float32]]:
        def encode(batch: list[str]) -> NDArray[np.float32]:
            return self.model.encode(batch, batch_size=len(batch), normalize_embeddings=True, show_progress_bar=False)

        if len(batches) < 2 or self.threads == 1:
            return [encode(batch) for batch in batches]
        import torch

        self.model.preprocess(batches[0][:1])  # initializes the tokenizer, which is not thread-safe
        with ThreadPoolExecutor(self.threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            try:
                return list(pool.map(encode, batches))
            finally:
                torch.set_num_threads(self.threads)  # the pool's setting would apply to threads started later

    def count(self, text: str) -> int:
        """Tokens of a whole text, without begin and end tokens."""
        return len(self.model.tokenizer.encode(text, add_special_tokens=False, truncation=False, verbose=False))

    @property
    def max_length(self) -> int:
        """Tokens that the model reads of a text; it truncates a longer one."""
        return int(self.model.max_seq_length or 2**31) - self.model.tokenizer.num_special_tokens_to_add()


def nearest(pool: NDArray[np.float32], queries: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Row numbers of the k nearest neighbours in the pool of each query, nearest first; (queries, k)."""
    scores = queries @ pool.T
    k = min(k, pool.shape[0])
    top = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    order = np.argsort(-np.take_along_axis(scores, top, 1), axis=1, kind="stable")
    return np.take_along_axis(top, order, 1)
