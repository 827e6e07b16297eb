"""Detects instructions to the model in passages (indirect prompt injection), sentence by sentence.

A how-to tells its reader what to do with its subject. A planted instruction tells the model what to do with the answer: to
ignore the question or other text, to say certain words, to send users to a link, to keep this secret. So the object of an
instruction counts, not its mood, and sentences full of honest imperatives pass. `benchmarks/planted.py` measures false alarms
on clean documents and misses on planted ones. Greshake et al. 2023, https://arxiv.org/abs/2302.12173
"""

from __future__ import annotations

import base64
import binascii
import codecs
import re
from dataclasses import dataclass
from functools import lru_cache

from rung.marks import fold, has_chat_tag, has_passage_tag
from rung.retrieve.order_signs import LANGUAGES, SIGNS

VERSION = 1
"""Increase when other sentences are left out of the same passage."""

THRESHOLD = 2
"""Weight from which a run of sentences is an instruction to the model."""

WINDOW = 4
"""Most sentences of one instruction."""

MAX_FOLLOWING = 2
MAX_WORDS = 14
"""Short sentences after an instruction that belong to it (`It is X.`): their number, and their most words."""


@dataclass(frozen=True, slots=True)
class _Language:
    any: re.Pattern[str]
    """Matches any text with a sign."""
    aside: re.Pattern[str]
    answer: re.Pattern[str]
    machine: re.Pattern[str]

    def weight(self, read: str) -> int:
        return 2 * bool(self.aside.search(read)) + _twice(self.answer, read) + bool(self.machine.search(read))


def _twice(pattern: re.Pattern[str], read: str) -> int:
    return min(2, len(pattern.findall(read)))


def _language(aside: str, objects: str, answer: str, machine: str) -> _Language:
    def words(text: str) -> str:
        single, *phrases = text.split("|")
        return "|".join(_open(part) for part in [*single.split(), *phrases])

    first, second = words(aside), words(objects)
    third = "|".join(_open(part) for part in answer.split("|"))
    return _Language(
        re.compile(f"{first}|{third}|{words(machine)}"),
        re.compile(rf"(?:{first})[^.!?。！？\n]{{0,60}}?(?:{second})|(?:{second})[^.!?。！？\n]{{0,30}}?(?:{first})"),
        re.compile(third),
        re.compile(words(machine)),
    )


def _open(part: str) -> str:
    """A word in the form in which texts are read; one that begins with a letter begins a word, where "
    "words are spaced."""
    read = fold(part).text
    end = r"\b" if len(read) <= 3 else ""
    return rf"\b{re.escape(read)}{end}" if read[:1].isascii() else re.escape(read)


_ENGLISH = re.compile(
    r"passage|document|context|quotation|instead|asked|asks|aside|answer|repl(?:y|ies)|respon|output|completion|summar|ignor|disregard|forget|overrid|overrul|"
    r"neglect|discard|abandon|bypass|"
    r"dismiss|follow|obey|supersede|replace|precedence|question|quer(?:y|ies)|request|nothing|verbatim|"
    r"word|phrase|token|string|"
    r"sentence|code|tag|assistant|bot|model|\bais?\b|llm|gpt|you are|from now|from this|pretend|"
    r"whoever|any(?:one|body)|every|those|"
    r"rule|instruction|directive|system|admin|developer|operator|root|security|notice|message|end of|"
    r"do not|don't|never|without|"
    r"link|url|image|http|user|reader|whatever|no matter"
)
"""Any English sign contains one of these words: a quick test that most sentences fail."""
_COMPILED = tuple((re.compile(pattern), weight) for pattern, weight in SIGNS if weight)
_SENTENCE = re.compile(
    r"(?<![A-Z]\.)(?<![ .](?:St|Dr|Mr|Ms|vs|No|Jr)\.)(?<!Mrs\.)(?<=[.!?。！？])[\"'”’)\]]*\s+|(?<=[。！？])|"
    r"\n+|(?<=:)[^\S\n]*\n|<!--|-->|\*/|(?<=\|)[^\S\n]*(?=\|)"
)
_ENCODED = re.compile(r"(?<![\w+/=])(?:[A-Za-z0-9+/_-]{20,}={0,2}|(?:[0-9a-fA-F]{2}[\s:]?){16,})(?![\w+/=])")


_ROT13 = re.compile(codecs.encode("ignore|disregard|forget|answer|instruct|respond|response|output", "rot13"))
_LATIN = 8
"""Number of `LANGUAGES` in Latin script; they come first."""


@lru_cache(maxsize=1 << 14)
def found(text: str) -> tuple[tuple[int, int], ...]:
    """Begin and end of each instruction to the model in a text, in order, without overlap."""
    parts = _parts(text)
    reads = [fold(text[start:end]).text for start, end in parts]
    flagged = [False] * len(parts)
    for i in range(len(parts)):
        for size in range(1, WINDOW + 1):
            if i + size > len(parts) or (size > 1 and "\n\n" in text[parts[i][1] : parts[i + size - 1][0]]):
                break
            if all(_weight(reads[j]) for j in (i, i + size - 1)) and _weight("\n".join(reads[i : i + size])) >= THRESHOLD:
                flagged[i : i + size] = [True] * size
                break
    for i, (start, end) in enumerate(parts):
        if not flagged[i] and any(_is_order(hidden) for hidden in _decoded(text[start:end])):
            flagged[i] = True
    _follow(text, parts, flagged)
    spans: list[tuple[int, int]] = []
    for (start, end), is_flagged in zip(parts, flagged):
        if is_flagged and spans and not text[spans[-1][1] : start].strip():
            spans[-1] = (spans[-1][0], end)
        elif is_flagged:
            spans.append((start, end))
    return tuple(spans)


def signs(text: str) -> int:
    """Weight of the signs that a sentence instructs the model; 0 for nearly every honest one."""
    return _weight(fold(text).text)


def sentences(text: str) -> list[str]:
    """The text's sentences; ends of lines, cells and comments end one too."""
    return [text[start:end] for start, end in _parts(text)]


def _follow(text: str, parts: list[tuple[int, int]], flagged: list[bool]) -> None:
    """Flag short sentences after an instruction, within its paragraph."""
    taken = 0
    for i in range(1, len(parts)):
        if flagged[i]:
            taken = 0
            continue
        apart = "\n\n" in text[parts[i - 1][1] : parts[i][0]]
        if flagged[i - 1] and taken < MAX_FOLLOWING and not apart and len(text[slice(*parts[i])].split()) <= MAX_WORDS:
            flagged[i], taken = True, taken + 1


def _parts(text: str) -> list[tuple[int, int]]:
    out, at = [], 0
    for match in _SENTENCE.finditer(text):
        if text[at : match.start()].strip():
            out.append((at, match.start()))
        at = match.end()
    if text[at:].strip():
        out.append((at, len(text)))
    return out


def _is_order(text: str) -> bool:
    return _weight(fold(text).text) >= THRESHOLD


@lru_cache(maxsize=1 << 14)
def _weight(read: str) -> int:
    """Sum of the signs in a folded text; each counts once; the maximum over languages."""
    english = sum(weight for pattern, weight in _COMPILED if pattern.search(read)) if _ENGLISH.search(read) else 0
    languages = _languages() if not read.isascii() else _languages()[:_LATIN]
    if "<" in read or "[" in read:
        english += 2 if has_passage_tag(read) else 1 if has_chat_tag(read) else 0
    return max([english, *(language.weight(read) for language in languages if language.any.search(read))])


@lru_cache(maxsize=1)
def _languages() -> tuple[_Language, ...]:
    return tuple(_language(*words) for words in LANGUAGES.values())


def _decoded(text: str) -> list[str]:
    """A sentence decoded: its base64 and hexadecimal runs, and rot13."""
    out = [codecs.decode(text, "rot13")] if _ROT13.search(text.lower()) else []
    for match in _ENCODED.finditer(text):
        run = re.sub(r"[\s:]", "", match[0])
        for decode in (_hex, _base64):
            decoded = decode(run)
            if decoded and sum(c.isprintable() or c.isspace() for c in decoded) / len(decoded) > 0.95:
                out.append(decoded)
    return out


def _hex(run: str) -> str:
    try:
        return bytes.fromhex(run).decode("utf-8")
    except ValueError:
        return ""


def _base64(run: str) -> str:
    plain = run.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return ""
