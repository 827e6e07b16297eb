"""Rules of quality for raw text, by name. Most are those of Gopher (Rae et al. 2021, appendix A1). https://arxiv.org/abs/2112.11446"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from rung.data.near import UNSPACED

FEWEST_WORDS = 50
WORD_LENGTHS = (3.0, 10.0)
"""Mean length of a text's words; not asked of scripts that are written without spaces."""
MOST_SYMBOLS = 0.1
"""Number signs and ellipses per word."""
FEWEST_LETTERS = 0.8
"""Share of the words, as separated by spaces, with a letter in them."""
MOST_REPEATED = 0.3
"""Share of the lines that repeat an earlier one."""
_SYMBOL = re.compile(r"#|\.\.\.|…")
_UNSPACED = re.compile(f"[{UNSPACED}]")

Rule = Callable[[str, Sequence[str]], bool]
"""From a text and its words to whether it breaks the rule."""


def _few_words(text: str, words: Sequence[str]) -> bool:
    return len(words) < FEWEST_WORDS


def _odd_words(text: str, words: Sequence[str]) -> bool:
    if not words or _UNSPACED.search(text):
        return False
    mean = sum(map(len, words)) / len(words)
    return not WORD_LENGTHS[0] <= mean <= WORD_LENGTHS[1]


def _symbols(text: str, words: Sequence[str]) -> bool:
    return len(_SYMBOL.findall(text)) > MOST_SYMBOLS * max(1, len(words))


def _few_letters(text: str, words: Sequence[str]) -> bool:
    parts = text.split()
    return sum(any(map(str.isalpha, part)) for part in parts) < FEWEST_LETTERS * len(parts)


def _repeated_lines(text: str, words: Sequence[str]) -> bool:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return len(lines) - len(set(lines)) > MOST_REPEATED * len(lines)


FILTERS: dict[str, tuple[Rule, str]] = {
    "few-words": (_few_words, f"have fewer than {FEWEST_WORDS} words"),
    "odd-words": (
        _odd_words,
        f"have words of fewer than {WORD_LENGTHS[0]:g} or more than {WORD_LENGTHS[1]:g} characters on average",
    ),
    "symbols": (_symbols, f"have more than {MOST_SYMBOLS:g} number signs or ellipses a word"),
    "few-letters": (_few_letters, f"have no letter in more than {1 - FEWEST_LETTERS:.0%} of their words"),
    "repeated-lines": (_repeated_lines, f"repeat themselves in more than {MOST_REPEATED:.0%} of their lines"),
}
"""Each rule with what the documents that break it have in common."""
