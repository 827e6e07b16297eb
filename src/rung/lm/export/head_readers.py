"""A folder with an encoder and its head asked by the library that it is meant for: nothing of rung takes part."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rung.lm.export.reader import Tokens
from rung.lm.quiet import quiet

TEXTS = 32
"""Texts a call."""


class PlainSentences:
    """A folder in sentence-transformers, and its head in numpy."""

    def __init__(self, folder: Path):
        import sentence_transformers
        from safetensors.numpy import load_file

        with quiet():
            self._model: Any = sentence_transformers.SentenceTransformer(str(folder), device="cpu", trust_remote_code=False)
        self._head = load_file(folder / "head.safetensors")
        self.labels: list[str] = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
        path = folder / "other.json"
        self._other: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        self.labels += [self._other["label"]] if self._other else []
        self.engine = f"sentence-transformers {sentence_transformers.__version__}, the head by numpy {np.__version__}"

    def cut(self, text: str) -> Tokens:
        with quiet():
            return tuple(self._model.preprocess([text])["input_ids"][0].tolist())

    def answers(self, texts: Sequence[str]) -> tuple[NDArray, NDArray]:
        vectors = self._model.encode(list(texts), batch_size=TEXTS, show_progress_bar=False)
        logits = vectors @ self._head["weight"].T + self._head["bias"]
        powers = np.exp(logits - logits.max(1, keepdims=True))
        odds, best = powers / powers.sum(1, keepdims=True), logits.argmax(1)
        if not self._other:
            return odds, best
        rest = (powers.sum(1) - powers.max(1)).clip(1e-30)
        unlike = 1 / (1 + np.exp(-(self._other["slope"] * -np.log(rest) + self._other["shift"])))
        return np.column_stack([odds * (1 - unlike)[:, None], unlike]), np.where(unlike >= 0.5, len(self.labels) - 1, best)

    def close(self) -> None:
        del self._model


class PlainClassifier:
    """A folder in transformers, as a sequence classifier."""

    def __init__(self, folder: Path):
        import transformers

        with quiet():
            self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            self._model: Any = transformers.AutoModelForSequenceClassification.from_pretrained(
                folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
            ).eval()
        names = self._model.config.id2label
        self.labels = [names[place] for place in range(len(names))]
        self.engine = f"transformers {transformers.__version__}"

    def cut(self, text: str) -> Tokens:
        with quiet():
            return tuple(self._tokenizer(text, truncation=True).input_ids)

    @torch.no_grad()
    def answers(self, texts: Sequence[str]) -> tuple[NDArray, NDArray]:
        found = []
        for start in range(0, len(texts), TEXTS):
            given = self._tokenizer(list(texts[start : start + TEXTS]), truncation=True, padding=True, return_tensors="pt")
            found.append(self._model(**given).logits.softmax(-1).numpy())
        odds = np.concatenate(found)
        return odds, odds.argmax(1)

    def close(self) -> None:
        del self._model
