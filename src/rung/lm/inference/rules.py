"""Baselines without a model: the majority answer and the nearest example's answer."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from rung import files
from rung.lm.base import Choice, Completion, Decoding, Progress, Prompt
from rung.types import Example

ROWS = "rows.json"


def save_rows(folder: Path, examples: Sequence[Example]) -> None:
    files.write_text(folder / ROWS, json.dumps([[e.input, e.output] for e in examples], ensure_ascii=False))


class RuleEngine:
    """Answers from the training rows. `rule` is majority or nearest."""

    context = 2**31

    def __init__(self, rule: str, folder: Path):
        self.rule = rule
        self.rows: list[list[str]] = json.loads((folder / ROWS).read_text(encoding="utf-8"))

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding, progress: Progress | None = None) -> list[Completion]:
        answers = self._nearest(prompts) if self.rule == "nearest" else [self._majority] * len(prompts)
        if progress:
            progress(len(prompts))
        return [Completion(text) for text, _ in answers]

    def choose(self, prompts: Sequence[Prompt], labels: Sequence[str], progress: Progress | None = None) -> list[Choice]:
        answers = self._nearest(prompts) if self.rule == "nearest" else [self._majority] * len(prompts)
        if progress:
            progress(len(prompts))
        return [Choice(text, 0.0, share) for text, share in answers]

    def score(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> list[float]:
        return [0.0 if c.text == a else float("-inf") for c, a in zip(self.generate(prompts, Decoding()), answers)]

    def count(self, prompt: Prompt) -> int:
        return 0

    @cached_property
    def _majority(self) -> tuple[str, float]:
        answer, times = Counter(output for _, output in self.rows).most_common(1)[0]
        return answer, times / len(self.rows)

    @cached_property
    def _index(self):
        """TF-IDF of character 3- to 5-grams, which tolerate typos and work in any language."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True)
        return vectorizer, vectorizer.fit_transform([text for text, _ in self.rows])

    def _nearest(self, prompts: Sequence[Prompt]) -> list[tuple[str, float]]:
        """Output of the most similar training input, and the similarity (cosine)."""
        import numpy as np

        vectorizer, matrix = self._index
        answers = []
        for start in range(0, len(prompts), 512):
            part = vectorizer.transform([p.input for p in prompts[start : start + 512]])
            scores = (part @ matrix.T).toarray()
            best = np.asarray(scores.argmax(axis=1)).ravel()
            answers += [(self.rows[i][1], float(scores[k, i])) for k, i in enumerate(best)]
        return answers
