"""The engine of a head that gives each of several labels or does not, on frozen sentence embeddings."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rung import files, label_sets
from rung.errors import ModelError
from rung.lm.base import Choice, Completion, Decoding, Progress, Prompt
from rung.lm.inference.encoder import CHUNK, LABELS

HEAD = "label_set_head.safetensors"


def save_head(folder: Path, weight: NDArray, bias: NDArray, thresholds: NDArray, labels: Sequence[str], always: bool) -> None:
    """Weight (labels, width), bias and thresholds (labels,) in log-odds. `always`: every row has a label."""
    from safetensors.numpy import save_file

    tensors = {"weight": weight, "bias": bias, "thresholds": thresholds}
    with files.whole(folder / HEAD) as part:
        save_file({name: np.ascontiguousarray(one, np.float32) for name, one in tensors.items()}, part)
    files.write_text(folder / LABELS, json.dumps({"labels": list(labels), "always": always}, ensure_ascii=False))


def load_head(embed: Callable[[Sequence[str]], NDArray], folder: Path) -> LabelSetEngine:
    """The engine of a saved head. `embed`: from texts to vectors (texts, width)."""
    from safetensors.numpy import load_file

    tensors = load_file(folder / HEAD)
    weight, bias, thresholds = tensors["weight"].T, tensors["bias"], tensors["thresholds"]
    known = json.loads((folder / LABELS).read_text(encoding="utf-8"))
    return LabelSetEngine(lambda texts: embed(texts) @ weight + bias, thresholds, known["labels"], known["always"])


class LabelSetEngine:
    """Answers with the list of labels whose score is over its threshold. `scores`: from texts to log-odds (texts, labels).

    The confidence is the probability that all labels of the list apply and no others do, as if they were independent.
    """

    context = 2**31  # an encoder truncates texts itself

    def __init__(self, scores: Callable[[Sequence[str]], NDArray], thresholds: NDArray, labels: Sequence[str], always: bool):
        self.scores, self.thresholds, self.labels, self.always = scores, thresholds, list(labels), always

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding, progress: Progress | None = None) -> list[Completion]:
        out: list[Completion] = []
        for start in range(0, len(prompts), CHUNK):
            part = prompts[start : start + CHUNK]
            out += map(self._answer, self.scores([p.input for p in part]))
            if progress:
                progress(len(part))
        return out

    def _answer(self, scores: NDArray) -> Completion:
        given = scores > self.thresholds
        if self.always and not given.any():
            given[int((scores - self.thresholds).argmax())] = True
        sure = float(np.exp(-np.logaddexp(0, np.where(given, -scores, scores)).sum()))
        return Completion(label_sets.dump([label for label, on in zip(self.labels, given) if on], self.labels), confidence=sure)

    def score(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> list[float]:
        raise ModelError("a head for several labels gives no probability of a list.", remedy="Ask it to answer instead.")

    def choose(self, prompts: Sequence[Prompt], labels: Sequence[str], progress: Progress | None = None) -> list[Choice]:
        raise ModelError("a head for several labels does not choose one.", remedy="Fit `encoder` on rows with one label each.")

    def count(self, prompt: Prompt) -> int:
        return 0
