"""The language that most of a task's inputs are in, by their script and their commonest words."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

SCRIPTS = {
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "HANGUL": "ko",
    "CJK": "zh",
    "CYRILLIC": "ru",
    "ARABIC": "ar",
    "THAI": "th",
    "DEVANAGARI": "hi",
    "HEBREW": "he",
    "GREEK": "el",
}
"""Language that a script is taken for; scripts of several languages stand for the most common one."""
WORDS = {
    "en": "the and is to of in that it for you was with are on have not my this",
    "de": "der die und das ist nicht ich zu den ein mit es eine auf für sich dem von auch",
    "fr": "le la les et est des une un que pas pour dans qui je vous sur avec ce ne",
    "es": "el la los que de y es en un una por con no para se mi las su está",
    "it": "il di che è la un per non sono una con mi del si le ho da questo",
    "pt": "o que e de não um uma para com os em se por mais as meu da é do",
    "nl": "de het een en van ik is niet dat op te zijn met voor die er maar mijn",
}
FEWEST = 0.1
"""Share of words that must be among the commonest."""
CLEAR = 1.3
"""How many times as many as of the next language."""
ROWS = 200


def language(texts: Sequence[str]) -> str:
    """The ISO 639-1 code of the language; empty where it is not clear. Japanese is recognised by its kana."""
    sample = " ".join(texts[:ROWS]).casefold()
    letters = [character for character in sample if character.isalpha()][:20_000]
    scripts = Counter(_script(one) for one in letters)
    if scripts["ja"] > 0.1 * len(letters):
        return "ja"
    [(most, count)] = scripts.most_common(1) or [("", 0)]
    if most and count > 0.5 * len(letters):
        return most
    words = Counter(re.findall(r"[^\W\d_]+", sample))
    hits = Counter({code: sum(words[word] for word in known.split()) for code, known in WORDS.items()})
    (first, best), (_, next_) = hits.most_common(2)
    return first if best >= FEWEST * max(1, words.total()) and best >= CLEAR * next_ else ""


def _script(character: str) -> str:
    name = unicodedata.name(character, "") if ord(character) > 0x24F else ""
    return next((code for start, code in SCRIPTS.items() if name.startswith(start)), "")
