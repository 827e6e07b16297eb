"""Metrics that compare free text: exact match, token F1 and ROUGE-L, in any script, with numbers compared as values."""

from __future__ import annotations

import functools
import unicodedata
from typing import Any

from rung.metrics import tokens
from rung.metrics.numbers import Mark, convention
from rung.metrics.plain import UNSPACED, plain_text
from rung.metrics.squad import f1
from rung.types import Example


def exact_match(output: str, reference: str, example: Example) -> float:
    """1 if answer and reference have the same tokens in the same order: words without case, numbers as values."""
    said, due = _token_pair(output, reference, example)
    return float(said == due)


def token_f1(output: str, reference: str, example: Example) -> float:
    """F1 over the bag of tokens; if one text has none, 1 only if both have none."""
    said, due = _token_pair(output, reference, example)
    return f1(list(said), list(due))


def rouge_l(output: str, reference: str, example: Example) -> float:
    """F-measure of the longest common subsequence of tokens, unstemmed, articles kept. Lin (2004), W04-1013."""
    mark = _mark(reference, example)
    return _lcs_f([tokens.tokenize_with_articles(output, mark), tokens.tokenize_with_articles(reference, mark)])


def rouge_score_l(output: str, reference: str, example: Example) -> float:
    """ROUGE-L as the package rouge-score has it, for comparison with papers: signs and decimal points are dropped.

    On ASCII text the figure is the package's own; its tokenizer would drop every letter beyond a to z.
    """
    return _lcs_f([tuple(_plain_words(text)) for text in (output, reference)])


def _token_pair(output: str, reference: str, example: Example) -> tuple[tuple[str, ...], tuple[str, ...]]:
    mark = _mark(reference, example)
    return tokens.tokenize(output, mark), tokens.tokenize(reference, mark)


def _mark(reference: str, example: Example) -> Mark:
    """The decimal mark of a row: from its reference, else its input, else the point."""
    return convention(plain_text(reference)) or _mark_of_input(example.input) or "."


@functools.lru_cache(maxsize=4096)
def _mark_of_input(text: str) -> Mark | None:
    return convention(plain_text(text))


def _lcs_f(both: list[tuple[str, ...]]) -> float:
    said, due = both
    return float(_rouge().score(due, said)["rougeL"].fmeasure)


@functools.cache
def _rouge() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], tokenizer=_Given())


class _Given:
    """A tokenizer for already tokenized texts."""

    def tokenize(self, text: tuple[str, ...]) -> list[str]:
        return list(text)


def _plain_words(text: str) -> list[str]:
    """Words of letters, marks and digits, lower case; a character is a word in scripts written without spaces."""
    return "".join(map(_apart, text.lower())).split()


@functools.lru_cache(maxsize=65536)
def _apart(character: str) -> str:
    if unicodedata.category(character)[0] not in "LMN":
        return " "
    apart = ord(character) > 127 and unicodedata.name(character, "").startswith(UNSPACED)
    return f" {character} " if apart else character
