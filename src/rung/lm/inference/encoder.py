"""The engine of an encoder with a classification head, and the linear head on frozen sentence embeddings."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rung import files
from rung.errors import ModelError
from rung.lm.base import Choice, Completion, Decoding, Progress, Prompt
from rung.lm.inference.embed import Embedder

HEAD, LABELS = "head.safetensors", "labels.json"
ENCODER = "encoder"
"""Folder beside a head with the encoder that was tuned for it; without one the untouched encoder is used."""
CHUNK = 256


def save_head(folder: Path, weight: NDArray, bias: NDArray, labels: Sequence[str]) -> None:
    """Weight (labels, width) and bias (labels,) of a softmax head."""
    from safetensors.numpy import save_file

    # contiguous: safetensors writes an array's bytes in memory order, and scikit-learn's may be column-major
    tensors = {"weight": np.ascontiguousarray(weight, np.float32), "bias": np.ascontiguousarray(bias, np.float32)}
    with files.whole(folder / HEAD) as part:
        save_file(tensors, part)
    files.write_text(folder / LABELS, json.dumps(list(labels), ensure_ascii=False))


def load_head(embedder: Embedder, folder: Path) -> EncoderEngine:
    """The engine of a saved head on its frozen encoder."""
    from safetensors.numpy import load_file

    tensors = load_file(folder / HEAD)
    weight, bias = tensors["weight"].T, tensors["bias"]
    labels = json.loads((folder / LABELS).read_text(encoding="utf-8"))
    return EncoderEngine(lambda texts: embedder.embed(texts) @ weight + bias, labels)


class EncoderEngine:
    """Answers with `scores`, from texts to logits (texts, labels)."""

    context = 2**31  # an encoder truncates texts itself

    def __init__(self, scores: Callable[[Sequence[str]], NDArray], labels: Sequence[str]):
        self.scores, self.labels = scores, list(labels)

    def choose(self, prompts: Sequence[Prompt], labels: Sequence[str], progress: Progress | None = None) -> list[Choice]:
        """The head's likeliest label among `labels`; a label it was not trained on is never chosen."""
        columns = [self.labels.index(label) for label in labels if label in self.labels]
        if not columns:
            raise ModelError(f"the head was trained on none of the labels {', '.join(labels)}.", remedy="Fit it again on them.")
        out: list[Choice] = []
        for start in range(0, len(prompts), CHUNK):
            part = prompts[start : start + CHUNK]
            for row in self._logs(part, columns):
                best = int(row.argmax())
                out.append(Choice(self.labels[columns[best]], float(row[best]), float(np.exp(row[best]))))
            if progress:
                progress(len(part))
        return out

    def score(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> list[float]:
        """Log-probability of each answer among all labels; minus infinity for one that the head was not trained on."""
        logs = self._logs(prompts, range(len(self.labels)))
        place = {label: i for i, label in enumerate(self.labels)}
        return [float(row[place[answer]]) if answer in place else -math.inf for row, answer in zip(logs, answers)]

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding, progress: Progress | None = None) -> list[Completion]:
        raise ModelError("an encoder chooses among labels and cannot generate text.", remedy="Use kind: classify.")

    def count(self, prompt: Prompt) -> int:
        return 0

    def _logs(self, prompts: Sequence[Prompt], columns: Sequence[int]) -> NDArray:
        """Log-probabilities over the labels in `columns`; (prompts, columns)."""
        logits = self.scores([p.input for p in prompts])[:, columns]
        return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
