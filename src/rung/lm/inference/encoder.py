"""The engine of an encoder with a classification head, and the linear head on frozen sentence embeddings."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rung import files
from rung.errors import ModelError
from rung.lm.base import Choice, Completion, Decoding, Progress, Prompt
from rung.lm.inference.embed import Embedder

HEAD, LABELS, OTHER = "head.safetensors", "labels.json", "other.json"
ENCODER = "encoder"
"""Folder beside a head with the encoder that was tuned for it; without one the untouched encoder is used."""
CHUNK = 256


@dataclass(frozen=True, slots=True)
class OtherLabel:
    """When a head answers that an input is unlike all of its labels."""

    label: str
    slope: float
    """Of the log-odds of the head's confidence; below 0."""
    shift: float

    def chance(self, sure: NDArray) -> NDArray:
        """The probability that inputs are unlike all labels, by the log-odds of the head's confidence in them; (inputs,)."""
        return 1 / (1 + np.exp(-np.clip(self.slope * sure + self.shift, -30, 30)))


def log_odds(logits: NDArray) -> NDArray:
    """Log-odds of the likeliest label, by logits (inputs, labels); (inputs,)."""
    logits = logits.astype(np.float64)
    best = logits.argmax(axis=1)
    rest = np.where(np.arange(logits.shape[1]) == best[:, None], -np.inf, logits)
    return logits[np.arange(len(logits)), best] - np.logaddexp.reduce(rest, axis=1)


def odds(logits: NDArray, other: OtherLabel | None = None) -> NDArray:
    """Probabilities of the labels, and with `other` in one more column that none of them fits; (inputs, labels or one more)."""
    found = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
    if other is None:
        return found
    unlike = other.chance(log_odds(logits))[:, None]
    return np.concatenate([found * (1 - unlike), unlike], axis=1)


def load_other(folder: Path) -> OtherLabel | None:
    """When a saved head answers that an input is unlike all labels; None where it never does."""
    path = folder / OTHER
    return OtherLabel(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def save_head(folder: Path, weight: NDArray, bias: NDArray, labels: Sequence[str], other: OtherLabel | None = None) -> None:
    """Weight (labels, width) and bias (labels,) of a softmax head, and when it answers that an input is unlike all labels."""
    from safetensors.numpy import save_file

    # contiguous: safetensors writes an array's bytes in memory order, and scikit-learn's may be column-major
    tensors = {"weight": np.ascontiguousarray(weight, np.float32), "bias": np.ascontiguousarray(bias, np.float32)}
    with files.whole(folder / HEAD) as part:
        save_file(tensors, part)
    files.write_text(folder / LABELS, json.dumps(list(labels), ensure_ascii=False))
    save_other(folder, other)


def save_other(folder: Path, other: OtherLabel | None) -> None:
    """Write when an input is answered `other`; nothing for never."""
    if other:
        files.write_json(folder / OTHER, asdict(other))


def load_head(embedder: Embedder, folder: Path) -> EncoderEngine:
    """The engine of a saved head on its frozen encoder."""
    from safetensors.numpy import load_file

    tensors = load_file(folder / HEAD)
    weight, bias = tensors["weight"].T, tensors["bias"]
    labels = json.loads((folder / LABELS).read_text(encoding="utf-8"))
    return EncoderEngine(lambda texts: embedder.embed(texts) @ weight + bias, labels, load_other(folder))


class EncoderEngine:
    """Answers with `scores`, from texts to logits (texts, labels). `other`: when none of the labels is answered."""

    context = 2**31  # an encoder truncates texts itself

    def __init__(self, scores: Callable[[Sequence[str]], NDArray], labels: Sequence[str], other: OtherLabel | None = None):
        self.scores, self.labels, self.other = scores, list(labels), other

    def choose(self, prompts: Sequence[Prompt], labels: Sequence[str], progress: Progress | None = None) -> list[Choice]:
        """The head's likeliest label among `labels`; a label it was not trained on is never chosen."""
        columns = [self.labels.index(label) for label in labels if label in self.labels]
        if not columns:
            raise ModelError(f"the head was trained on none of the labels {', '.join(labels)}.", remedy="Fit it again on them.")
        out: list[Choice] = []
        for start in range(0, len(prompts), CHUNK):
            part = prompts[start : start + CHUNK]
            logs, unlike = self._logs(part, columns)
            for row, log in zip(logs, unlike):
                best = int(row.argmax())
                label, found = self.labels[columns[best]], float(row[best])
                if self.other and self.other.label in labels and log >= math.log(0.5):
                    label, found = self.other.label, float(log)
                out.append(Choice(label, found, float(np.exp(found))))
            if progress:
                progress(len(part))
        return out

    def score(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> list[float]:
        """Log-probability of each answer among all labels; minus infinity for one that the head was not trained on."""
        known, unlike = self._logs(prompts, range(len(self.labels)))
        logs = np.concatenate([known, unlike[:, None]], axis=1)
        place = {label: i for i, label in enumerate(self.labels)}
        place |= {self.other.label: len(self.labels)} if self.other else {}
        return [float(row[place[answer]]) if answer in place else -math.inf for row, answer in zip(logs, answers)]

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding, progress: Progress | None = None) -> list[Completion]:
        raise ModelError("an encoder chooses among labels and cannot generate text.", remedy="Use kind: classify.")

    def count(self, prompt: Prompt) -> int:
        return 0

    def _logs(self, prompts: Sequence[Prompt], columns: Sequence[int]) -> tuple[NDArray, NDArray]:
        """Log-probabilities over the labels in `columns`, (prompts, columns), and that none of them fits, (prompts,)."""
        logits = self.scores([p.input for p in prompts])[:, columns]
        logs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        if self.other is None:
            return logs, np.full(len(logs), -np.inf)
        unlike = self.other.chance(log_odds(logits))
        return logs + np.log1p(-unlike)[:, None], np.log(unlike)
