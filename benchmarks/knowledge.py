"""What the retrieval benchmarks share: XQuAD's passages and questions, made-up text of a natural word distribution."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

import numpy as np
from common import DATA

EMBEDDER = "all-minilm-l6-v2"
SYLLABLES = [c + v + e for c in "bdfgklmnprstvz" for v in "aeiou" for e in ("", "n", "r", "s", "l")]


@dataclass(frozen=True)
class Question:
    text: str
    passage: int
    """Its place among the passages."""
    article: str


def xquad(lang: str) -> tuple[list[str], list[Question]]:
    """The paragraphs of XQuAD and its questions, each with the paragraph that holds its answer."""
    path = DATA / "xquad" / f"xquad.{lang}.json"
    if not path.exists():
        sys.exit(f"XQuAD is absent ({path.name} is read from shared/data); nothing was measured")
    passages, questions = [], []
    for article in json.loads(path.read_text(encoding="utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            questions += [Question(qa["question"], len(passages), article["title"]) for qa in paragraph["qas"]]
            passages.append(paragraph["context"])
    return passages, questions


def zipf_texts(count: int, words: int, vocabulary: int = 50_000, seed: int = 0) -> list[str]:
    """Texts of made-up words whose frequencies fall as 1/rank, as those of a language do; always the same ones."""
    rng = np.random.default_rng(seed)
    names = np.array(["".join(rng.choice(SYLLABLES, rng.integers(2, 5))) for _ in range(vocabulary)])
    chance = 1 / np.arange(1, vocabulary + 1)
    drawn = rng.choice(vocabulary, (count, words), p=chance / chance.sum())
    return [" ".join(names[line]) for line in drawn]


def unit(count: int, width: int, seed: int = 0) -> np.ndarray:
    """Random vectors of length one, float32, (count, width)."""
    found = np.random.default_rng(seed).standard_normal((count, width), dtype=np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)
