"""Exact match and token F1 as in SQuAD and MLQA, only for comparison with papers: "21" matches "2.1"."""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter

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
    """Translation that separates characters of scripts without spaces, as single tokens."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        apart = code > 127 and unicodedata.name(character, "").startswith(_UNSPACED)
        return self.setdefault(code, f" {character} " if apart else character)


_unpunctuated, _spaced = _Unpunctuated(), _Spaced()


def normalise(text: str) -> str:
    """SQuAD's form of an answer: caseless, no punctuation, no English articles, single spaces.

    Rajpurkar et al. (2016), arXiv:1606.05250; punctuation of every script, as MLQA (arXiv:1910.07475) does.
    """
    return " ".join(_ARTICLES.sub(" ", text.casefold().translate(_unpunctuated)).split())


def exact_match(output: str, reference: str, example: Example) -> float:
    """1 if answer and reference are equal after normalisation."""
    return float(normalise(output) == normalise(reference))


def token_f1(output: str, reference: str, example: Example) -> float:
    """F1 over the bag of normalised tokens; if one has none, 1 only if both have none (SQuAD 2.0)."""
    return f1(*(normalise(text).translate(_spaced).split() for text in (output, reference)))


def f1(said: list[str], due: list[str]) -> float:
    """F1 over two bags of tokens; if one is empty, 1 only if both are."""
    if not said or not due:
        return float(said == due)
    shared = sum((Counter(said) & Counter(due)).values())
    return 2 * shared / (len(said) + len(due))
