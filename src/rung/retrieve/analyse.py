"""Text to search terms, the same for documents and questions: stems, identifiers and their parts, bigrams.

A text may mix scripts. Scripts with spaces give words: lowercased, stemmed, then stripped of accents. Scripts without spaces
(and Hangul, whose words include particles) give overlapping character bigrams, as in Lucene's CJKAnalyzer. A token that looks
like code (snake_case, camelCase, kebab-case, dotted.path, --flag, v1.2.3) is one term, and each of its parts is another.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator
from functools import cache, lru_cache
from itertools import chain
from typing import Any

VERSION = 2
"""Increase when the same text gives other terms: lexical indexes are then rebuilt."""

STOPWORDS: dict[str, frozenset[str]] = {
    language: frozenset(words.split())
    for language, words in {
        "english": "a an and are as at be been by can did do does for from had has have he her his how i if in into is it its "
        "my no not of on or she so such than that the their them then there these they this those to was we were what when "
        "where which who whom whose why will with would you your",
        "german": "aber als am an auch auf aus bei bin bis das dass dem den der des die dies diese dieser ein eine einem "
        "einen einer eines er es für hat hatte ich ihr im in ist kann kein keine mit nach nicht noch nur oder sein seine "
        "sich sie sind so über um und uns unter vom von vor war waren warum was welche welchem welchen welcher welches wenn "
        "wer werden wie wir wird wo wurde wurden zu zum zur",
        "french": "au aux avec ce ces cette comment dans de des du elle en est et être il ils je la le les leur lequel mais "
        "ne nous on ou où par pas pour pourquoi qu que quel quelle quelles quels qui sa se ses son sont sur un une vous été",
        "spanish": "al como con cual cuál cuáles cuando cuándo cuántos cómo de del donde dónde el ella en era es esta este "
        "están fue fueron ha la las lo los más no para pero por porque qué que quién se ser si sin sobre son su sus también "
        "un una y ya",
        "italian": "al alla anche che chi come con da dal dalla dei del della delle di dove e era gli ha il in io la le lo "
        "ma nel nella non o per perché più quale quali quando quanti questa questo se si sono su sua suo un una è",
        "portuguese": "ao as com como da das de do dos e ela ele em era essa esse esta este foi foram há isso mais mas na nas "
        "no nos não o onde os para pela pelo por porque quais qual quando que quem se sem ser seu seus sua são também um "
        "uma é",
        "dutch": "aan als bij dan dat de der deze die dit door een en er had heeft het hij hoe ik in is kan maar met naar "
        "niet nog of om onder ook op over te tot uit van voor waar waarom wanneer waren wat welk welke werd wie worden zijn",
    }.items()
}
"""Stop words, which identify a language in Latin script and are dropped from questions."""

DEFAULT = "english"
"""The language of Latin text that is too short to identify."""

_BY_SCRIPT = ((0x0400, 0x052F, "russian"), (0x0600, 0x06FF, "arabic"), (0x0370, 0x03FF, "greek"), (0x0B80, 0x0BFF, "tamil"))
_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
_UNSPACED = _HAN + "\u3040-\u30ff\u31f0-\u31ff\u1100-\u11ff\uac00-\ud7af\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
_MARKS = "\u0300-\u036f\u0483-\u0487\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u0900-\u0963\u0966-\u0dff"
"""Accents, points and vowel signs, which are not word characters in Python, and the Indic scripts that use them."""
_WORD = rf"(?:[^\W{_UNSPACED}]|[{_MARKS}])+"
_LETTERS = rf"(?:[^\W\d_]|[{_MARKS}])+"
_TOKEN = re.compile(rf"([{_UNSPACED}]+)|{_WORD}(?:[.\-/:@+]{{1,2}}{_WORD})*")
_RAISED = re.compile(r"(?<=[\w)\]])[⁺⁻]?[⁰¹²³⁴-⁹]+")
_IS_UNSPACED = re.compile(f"[{_UNSPACED}]")
_IS_HAN = re.compile(f"[{_HAN}]")
_PLAIN = re.compile(_LETTERS)
_PARTS = re.compile(rf"\d+(?:\.\d+)*|{_LETTERS}")
_HUMPS = re.compile(rf"[A-ZÄÖÜ]+(?![a-zß-ÿ])|[A-ZÄÖÜ]?[a-zß-ÿ]+|{_LETTERS}")
_UMLAUTS = (("ä", "ae"), ("ö", "oe"), ("ü", "ue"))
SHARED_WEIGHT = 0.7
"""Weight of a question's term that is one of several of the same word, as of `IL-2`, which would otherwise count three times."""
MAX_TERM_LENGTH = 64
"""Characters of the longest term; anything longer (a hash, a data URL) is found only by its parts."""


def terms(text: str, language: str = "") -> list[str]:
    """The terms of a document's text, in order, with repetitions. `language`: its language, if already detected."""
    text = _normalize(text)
    language = language or detect(text)
    out: list[str] = []
    for match in _TOKEN.finditer(text):
        out += _pairs(match[0], unigrams=True) if match[1] else _word(match[0], language)
    return out


def question_terms(text: str, languages: Collection[str] = STOPWORDS) -> dict[str, float]:
    """The unique terms of a question with their weights: those of a word that is one term 1, of another `SHARED_WEIGHT`."""
    weights: dict[str, float] = {}
    for word in _question_words(text, languages):
        for found in word:
            for term in found:
                weights[term] = max(weights.get(term, 0.0), 1.0 if len(found) == 1 else SHARED_WEIGHT)
    return weights


def question_parts(text: str, languages: Collection[str] = STOPWORDS) -> list[tuple[str, ...]]:
    """The words of a question (bigrams in scripts without spaces), each with the terms it may be indexed under."""
    return [tuple(dict.fromkeys(chain(*word))) for word in _question_words(text, languages)]


def _question_words(text: str, languages: Collection[str]) -> list[list[tuple[str, ...]]]:
    """The words of a question, each with its terms in every spelling and language that it is searched in.

    A question is often too short to identify its language, and its passage may be in another one that shares its names. So a
    word is searched under the stemmers of its own language and of `languages`, those of the passages. Others would only find
    other words: the German stem of "cases" is the English one of "CAS". Stop words are dropped, unless there are no others.
    """
    text = _normalize(text)
    own = detect(text, languages)
    small, stemmers = STOPWORDS[own], sorted({own, *languages})
    full: list[list[tuple[str, ...]]] = []
    rest: list[list[tuple[str, ...]]] = []
    for match in _TOKEN.finditer(text):
        if match[1]:
            full += [[(pair,)] for pair in _pairs(match[0], unigrams=len(match[0]) == 1)]
        else:
            found = [_word(spelling, language) for spelling in _spellings(match[0]) for language in stemmers]
            (rest if match[0].lower() in small else full).append(found)
    return full or rest


def _normalize(text: str) -> str:
    """The text in NFKC; a superscript number stays separate from its base, as `10^6`."""
    return unicodedata.normalize("NFKC", _RAISED.sub(lambda found: f"^{found[0]}", text))


def is_spaced(text: str) -> bool:
    """Whether no character belongs to a script without spaces."""
    return not _IS_UNSPACED.search(text)


def detect(text: str, expected: Collection[str] = ()) -> str:
    """The language in Latin script whose stop words are most frequent; DEFAULT if there are none.

    One that is `expected` starts with one stop word: otherwise "IL-2 receptor" would be French.
    """
    seen: dict[str, int] = {language: int(language in expected) for language in STOPWORDS}
    for word in re.findall(r"[^\W\d_]+", text.lower()):
        for language in _STOPS.get(word, ()):
            seen[language] += 1
    best = max(seen, key=lambda language: (seen[language], language in expected))
    return best if seen[best] else DEFAULT


_STOPS: dict[str, tuple[str, ...]] = {
    word: tuple(name for name, words in STOPWORDS.items() if word in words) for words in STOPWORDS.values() for word in words
}


COMPOUNDING = frozenset({"german", "dutch"})
"""Languages that write compounds as one word."""
MIN_PART_LENGTH = 4
"""Fewest letters of a compound's part."""
_JOINTS = ("", "s", "es", "n", "en", "er", "e")


def compound(term: str) -> Iterator[tuple[str, str]]:
    """Splits of a term into two words, longest second word first; a linking element (Liebe-s-brief) is removed from the first."""
    if len(term) < 2 * MIN_PART_LENGTH or not term.isalpha():
        return
    for cut in range(MIN_PART_LENGTH, len(term) - MIN_PART_LENGTH + 1):
        first, second = term[:cut], term[cut:]
        for joint in _JOINTS:
            bare = first.removesuffix(joint)
            if first.endswith(joint) and len(bare) >= MIN_PART_LENGTH:
                yield _stem(bare, "german"), second


def _pairs(run: str, unigrams: bool) -> list[str]:
    singles = [c for c in run if _IS_HAN.match(c)] if unigrams and len(run) > 1 else [run] if len(run) == 1 else []
    return [run[i : i + 2] for i in range(len(run) - 1)] + singles


@lru_cache(maxsize=1 << 17)
def _word(token: str, language: str) -> tuple[str, ...]:
    """A token's terms: its stem; if it looks like code, the whole token and the stems of its parts."""
    if _PLAIN.fullmatch(token) and (token == token.upper() or token[1:] == token[1:].lower()):
        return tuple(filter(None, [_stem(token.lower(), language)]))  # a combining mark alone folds to nothing
    whole = _fold(token.lower().strip("_"))
    parts = [hump for part in _PARTS.findall(token) for hump in (_HUMPS.findall(part) if part[0].isalpha() else [part])]
    stems = [_stem(part.lower(), language) for part in parts if len(part) > 1 or part.isdigit()]
    named = [whole.removeprefix("v") if re.match(r"v\d", whole) else whole]
    return tuple(dict.fromkeys(term for term in [*(name for name in named if len(name) <= MAX_TERM_LENGTH), *stems] if term))


@lru_cache(maxsize=1 << 17)
def _stem(word: str, language: str) -> str:
    for low, high, other in _BY_SCRIPT:
        if low <= ord(word[0]) <= high:
            language = other
    found = _stemmer(language).analyze(word[:MAX_TERM_LENGTH])
    return _fold(found[0] if found else word[:MAX_TERM_LENGTH])


@cache
def _stemmer(language: str) -> Any:
    from tantivy import Filter, TextAnalyzerBuilder, Tokenizer

    return TextAnalyzerBuilder(Tokenizer.raw()).filter(Filter.stemmer(language)).build()


def _spellings(word: str) -> list[str]:
    """The word, and its other spelling of umlauts (Rückgabe, Rueckgabe)."""
    out, other = word, word
    for mark, letters in _UMLAUTS:
        out, other = out.replace(mark, letters), other.replace(letters, mark)
    return list(dict.fromkeys([word, out, other]))


def _fold(word: str) -> str:
    """The word without accents and other marks; ß as ss."""
    if word.isascii():
        return word
    return "".join(c for c in unicodedata.normalize("NFKD", word.casefold()) if not unicodedata.combining(c))
