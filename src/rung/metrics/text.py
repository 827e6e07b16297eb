"""Metrics that compare free text: exact match, token F1 and ROUGE-L, in any script."""

from __future__ import annotations

import functools
import re
import string
import unicodedata
from collections import Counter
from typing import Any

from rung.types import Example

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO ", "KHMER", "MYANMAR")


class _Unpunctuated(dict[int, str]):
    """Translation that drops punctuation, filled as characters are met."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        dropped = character in string.punctuation or unicodedata.category(character).startswith("P")
        return self.setdefault(code, "" if dropped else character)


class _Spaced(dict[int, str]):
    """Translation that sets characters of scripts written without spaces apart, as tokens of their own."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        apart = code > 127 and unicodedata.name(character, "").startswith(_UNSPACED)
        return self.setdefault(code, f" {character} " if apart else character)


class _Words(dict[int, str]):
    """Translation that leaves letters, marks and digits, and turns all else into spaces."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        return self.setdefault(code, character if unicodedata.category(character)[0] in "LMN" else " ")


_unpunctuated, _spaced, _words = _Unpunctuated(), _Spaced(), _Words()


def normalise(text: str) -> str:
    """SQuAD's form of an answer: caseless, no punctuation, no English articles, single spaces.

    Rajpurkar et al. (2016), arXiv:1606.05250; punctuation of every script, as MLQA (arXiv:1910.07475) does.
    """
    return " ".join(_ARTICLES.sub(" ", text.casefold().translate(_unpunctuated)).split())


def exact_match(output: str, reference: str, example: Example) -> float:
    """1 where answer and reference are the same once normalised."""
    return float(normalise(output) == normalise(reference))


def token_f1(output: str, reference: str, example: Example) -> float:
    """F1 over the bag of normalised tokens; where one has none, 1 only if both have none (SQuAD 2.0)."""
    said, due = (normalise(text).translate(_spaced).split() for text in (output, reference))
    if not said or not due:
        return float(said == due)
    shared = sum((Counter(said) & Counter(due)).values())
    return 2 * shared / (len(said) + len(due))


def rouge_l(output: str, reference: str, example: Example) -> float:
    """F-measure of the longest common subsequence of words, unstemmed. Lin (2004), W04-1013; package rouge-score.

    On ASCII text the figure is the package's own; its tokenizer would drop every letter beyond a to z.
    """
    return float(_rouge().score(reference, output)["rougeL"].fmeasure)


@functools.cache
def _rouge() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], tokenizer=_Tokenizer())


class _Tokenizer:
    def tokenize(self, text: str) -> list[str]:
        return text.lower().translate(_words).translate(_spaced).split()
