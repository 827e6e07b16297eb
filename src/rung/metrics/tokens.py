"""Tokens for comparing answers: words, numbers as values with units, and symbols.

Layout is dropped: case, punctuation, quotes, brackets, markdown emphasis. What carries meaning is kept: signs, decimal points,
%, units, C++ and C#, .NET, single letters.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from rung.metrics import numbers, quantities
from rung.metrics.numbers import Mark
from rung.metrics.plain import plain_text

TokenType = Literal["word", "number", "symbol"]


@dataclass(frozen=True, slots=True)
class Token:
    """A token and its position in the plain text."""

    text: str
    """Words are caseless; values start with a colon, which words cannot contain."""
    sort: TokenType
    start: int
    end: int


def tokenize(text: str, mark: Mark = ".") -> tuple[str, ...]:
    """The tokens of a text without English articles; or all characters as one token if there is nothing else.

    `mark`: decimal mark for ambiguous numbers (1,234) if the text does not show it.
    """
    return _read(text, mark)[0]


def tokenize_with_articles(text: str, mark: Mark = ".") -> tuple[str, ...]:
    """The same with articles."""
    return _read(text, mark)[1]


@lru_cache(maxsize=8192)
def _read(text: str, mark: Mark) -> tuple[tuple[str, ...], tuple[str, ...]]:
    plain = plain_text(text)
    found = list(_scan(plain, numbers.convention(plain) or mark))
    bare = " ".join((plain.strip() or text).split()).casefold()
    everything = tuple(one.text for one in found) or ((bare,) if bare else ())
    kept = tuple(one.text for at, one in enumerate(found) if not _is_article(found, at, plain))
    return kept or everything, everything


def _scan(text: str, mark: Mark) -> Iterator[Token]:
    at, before = 0, ""
    size = len(text)
    while at < size:
        character = text[at]
        if character.isspace():
            at += 1
            continue
        found = _quantity(text, at, mark, before) or _word(text, at) or _symbol(text, at, before)
        if found is None:
            at += 1
            continue
        yield found
        at, before = found.end, found.text


_IN_WORD = r"[^\s!-/:-@\[-`{-~°§‰′″¤-¥£€₹₩₽<>≤≥≠±≈×]"
_WORD = re.compile(rf"\.?{_IN_WORD}+(?:[.'/&@_-]{_IN_WORD}+)*(?:\+{{1,2}}(?!\w)|\#(?!\w))?")
_LAYOUT = frozenset(".,;:!?\"'()[]{}`")
_SIGN = re.compile(
    r"""(?<![^\s(\[{=,:`"'*/^])"""
    r"(?:!(?=\w)|--(?=[a-z])|-(?=[^\W\d_](?![\w'])|\s?[√∞]|(?:inf|infinity|pi|sqrt|log|sin|cos)\b))",
    re.IGNORECASE,
)
"""Signs in front of a word that change what it says: !x, --force, -x, -inf."""
_GRADE = re.compile(r"-(?=[\s,.;:!?)\"']|$)")


def _quantity(text: str, at: int, mark: Mark, before: str) -> Token | None:
    found = quantities.find(text, at, mark, before)
    return Token(found[0], "number", at, found[1]) if found else None


def _word(text: str, at: int) -> Token | None:
    found = _WORD.match(text, at)
    if not found:
        return None
    if found.group()[0] == "." and at and not text[at - 1].isspace() and text[at - 1] not in "([\"'":
        return None
    written, end = found.group(), found.end()
    letters = written.strip(".+#")
    if len(letters) <= 2 and letters.isalpha() and end == at + len(letters) and (grade := _GRADE.match(text, end)):
        return Token(f"{written.casefold()}-", "word", at, grade.end())
    cut = re.search(r"[-](?=\d)|(?<=\d)-|(?<=^.)-(?=.$)", written)  # covid-19 is two tokens, top-up one
    if cut and cut.start():
        written, end = written[: cut.start()], at + cut.start()
    return Token(_folded(written), "word", at, end)


def _folded(written: str) -> str:
    """A word without case, apostrophes, hyphens and the points of an abbreviation; a point between digits stays."""
    *before, last = written.casefold().split(".")
    named = len(last) > 2 and any(len(part) > 1 for part in before)  # file.txt; but Ph.D., B.Tech and Node.js
    word = written.casefold() if named else re.sub(r"(?<!^)(?<!\d)\.|(?<!^)\.(?!\d)", "", written.casefold())
    return unicodedata.normalize("NFKC", re.sub(r"['-]", "", word))


def _symbol(text: str, at: int, before: str) -> Token | None:
    """A meaningful symbol; None if it is layout."""
    character = text[at]
    if found := _SIGN.match(text, at):
        return Token(found.group(), "symbol", at, found.end())
    if character in _LAYOUT:
        return None
    if character == "-":
        after = text[at + 1 :].lstrip()[:2]
        kept = before.startswith(":") and after[:1].isdigit()
        single = len(before) == 1 and before.isalpha() and after[:1].isalpha() and not after[1:].isalnum()  # x - y
        return Token("-", "symbol", at, at + 1) if kept or single else None
    return Token(character, "symbol", at, at + 1)


# --- articles ---------------------------------------------------------------------------------------------------------


def _is_article(found: list[Token], at: int, text: str) -> bool:
    """Whether a token is an article: a, an or the with a word behind it. The last word never is, nor a single-letter answer."""
    one = found[at]
    if one.text not in ("a", "an", "the") or at + 1 == len(found) or one.sort != "word":
        return False
    following = found[at + 1]
    if not text[one.end : following.start].isspace() or following.sort == "symbol" or following.text in ("and", "or"):
        return False
    if len(following.text) == 1 and following.text.isalpha():
        return one.text == "the"
    opens = at == 0 or text[: one.start].rstrip()[-1:] in ".!?:;\"'("
    return text[one.start : one.end] != "A" or opens or text.isupper()
