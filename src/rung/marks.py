"""Neutralises prompt marks in untrusted text, in any spelling.

A prompt wraps passages in `<passages>`, numbers them `[1]` and puts `Question:` before the question; chat templates have marks
of their own. Documents, rows and earlier turns could contain them too, with full-width, circled or Cyrillic characters, with
invisible characters in between, or as HTML entities. So marks are searched in the folded text (`fold`), and only the mark is
changed in the original: 10⁶ stays 10⁶.

Look-alike characters: https://www.unicode.org/reports/tr39/; hidden ones: https://www.unicode.org/reports/tr36/
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

_LOOK_ALIKE = {
    "<": "‹˂ᐸ❮❰〈〈⟨⟪《«≪⧼﹤𝈶ᚲ⋖",
    ">": "›˃ᐳ❯❱〉〉⟩⟫》»≫⧽﹥⋗",
    "[": "【〔〖〚⟦⁅❲⦋⦍⦏⟬⎡「『",
    "]": "】〕〗〛⟧⁆❳⦌⦎⦐⟭⎤」』",
    "/": "∕⁄⧸╱⟋〳丿ノ∖⧵",
    "|": "ǀ∣❘⏐│┃︱丨ᛁ",
    ":": "ː˸։׃܃܄꞉∶⁚⁝︓︰᛬ះ",
    "_": "▁＿‗ˍ",
    "#": "♯⌗",
    "a": "аαɑⲁᴀ∂",
    "b": "ЬьƄʙв",
    "c": "сϲⅽᴄ",
    "d": "ԁԀɗᴅ",
    "e": "еєҽℯᴇε",
    "g": "ɡցɢ",
    "h": "һհʜн",
    "i": "іιıɩɪӏ",
    "k": "кκᴋ",
    "l": "ӏⅼʟ",
    "m": "мⅿᴍ",
    "n": "пոηɴ",
    "o": "оοօᴏσ०๐",
    "p": "рρᴘ",
    "q": "ԛգ",
    "r": "гᴦʀ",
    "s": "ѕꜱʂ",
    "t": "тτᴛ",
    "u": "υսцᴜ",
    "v": "νѵᴠ",
    "w": "ԝωᴡ",
    "x": "хχ",
    "y": "уγүʏ",
}
"""Look-alikes of mark characters that compatibility folding keeps."""

_SAME = {other: mark for mark, others in _LOOK_ALIKE.items() for other in others}
_BREAKS = frozenset("\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029")
_IGNORED = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff"
    "\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f]"
)
"""Invisible characters: https://www.unicode.org/reports/tr44/#Default_Ignorable_Code_Point, fillers and controls."""

_HIDDEN = re.compile(
    "(?<!\U0001f3f4)(?<![\U000e0020-\U000e007e])[\U000e0000-\U000e007f]+|[\U000e0080-\U000e0fff]|[\u202a-\u202e\u2066-\u2069]"
    "|[\u200b\u2060-\u2064\u206a-\u206f\ufeff\u00ad\u034f\ufff9-\ufffb]|(?<=[\ufe00-\ufe0f])[\ufe00-\ufe0f]+"
    "|[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f]"
)
"""Characters that can hide text: tags outside flags, runs of selectors, direction overrides, controls.

Joiners stay, since Persian, Indic scripts and emoji need them.
"""

_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z]{2,8});")


@dataclass(frozen=True, slots=True)
class FoldedText:
    """A folded text with the position of each character in the original."""

    text: str
    """Lower case; compatibility forms, look-alikes and entities as the plain character; without accents and invisibles."""
    starts: tuple[int, ...] | range
    ends: tuple[int, ...] | range


def fold(text: str) -> FoldedText:
    """The text as a reader perceives it, whatever characters spell it."""
    entities = {match.start(): match for match in _ENTITY.finditer(text)} if "&" in text else {}
    if text.isascii() and not entities and not _IGNORED.search(text):
        return FoldedText(text.lower().translate(_ASCII_BREAKS), range(len(text)), range(1, len(text) + 1))
    out: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    at = 0
    while at < len(text):
        entity = entities.get(at)
        end = entity.end() if entity else at + 1
        read = "".join(map(_fold, html.unescape(entity[0]))) if entity else _fold(text[at])
        out.append(read)
        starts += [at] * len(read)
        ends += [end] * len(read)
        at = end
    return FoldedText("".join(out), tuple(starts), tuple(ends))


_ASCII_BREAKS = {ord(mark): "\n" for mark in "\r\v\f\x1c\x1d\x1e"}


@lru_cache(maxsize=1 << 16)
def _fold(char: str) -> str:
    """A folded character: empty if invisible, several letters for a ligature."""
    if char in _BREAKS:
        return "\n"
    if _IGNORED.match(char):
        return ""
    out = []
    for one in unicodedata.normalize("NFKD", _SAME.get(char, char)).casefold():
        if unicodedata.combining(one):
            continue
        digit = unicodedata.digit(one, None)
        out.append(_SAME.get(one, one) if digit is None else str(digit))
    return "".join(out)


def _spaced(word: str) -> str:
    """A pattern for a word, also with separators between its letters."""
    return r"[ \t._*-]?".join(map(re.escape, word))


_ROLES = ("question", "answer", "system", "user", "assistant", "human", "chatbot", "bot", "developer", "passages", "passage")
_DECOR = r"(?:[^\S\n]*+(?:[>*#_~`|\"'.\-–—•+=\\{]|\d{1,3}[.)])++){0,20}+"
"""What may stand before a role: list marks, quotation marks, emphasis. It never backtracks: a long text takes linear time."""
_PASSAGES = re.compile(rf"<\s*[/\\]?\s*(?:{_spaced('passage')})[^\w<>]?s?\b[^<>\n]*>?")
_TURN = re.compile(
    r"<\s*\|[\w\s.:/-]{1,40}\|?\s*>|<<\s*[/\\]?\s*sys\s*>>|\[\s*[/\\]?\s*(?:inst|system_prompt|available_tools|tool_results)\s*\]"
    r"|<\s*[/\\]?\s*(?:s|bos|eos|pad|unk|system|assistant|start_of_turn|end_of_turn|extra_id_\d+)\s*>"
)
_NUMBER = re.compile(r"(?:\\?\[\s*\d{1,3}\s*\\?\][^\S\n]*)+")
_INDEX = re.compile(r"(?<=[A-Za-z0-9_\])\"'])(?:\[\d{1,3}\])+\s*")
"""An index after a word, as in code, which only looks like a passage number."""
_ROLE = re.compile(
    rf"(?:(?<=\n)|\A|(?<=[.!?。！？]\s))(?P<before>{_DECOR}[^\S\n]*)"
    rf"(?P<role>(?:last[^\S\n]+)?(?:{'|'.join(map(_spaced, _ROLES))}|q|a|ai|"
    r"(?<=\#)\s*(?:instructions?|response|input))(?:[^\S\n]*\d+)?)"
    r"(?P<after>[\s*_~`\"']{0,4}):"
)
_BRACKETS = {"<": "(", ">": ")", "[": "(", "]": ")"}


def defuse(text: str) -> str:
    """The text without anything that could be taken for a mark of the prompt or of a chat template.

    `</passages>`, `<|im_end|>` and `[1]` get round brackets, a line `Question:` becomes `(Question):`, and characters that
    hide text are removed. A bracketed number directly after a word, like `row[1]`, stays. Everything else is unchanged.
    """
    text = _HIDDEN.sub("", text)
    for _ in range(_MOST):
        defused = _defuse_once(text)
        if defused == text:
            break
        text = defused
    return text


_MOST = 8
"""Maximum rounds; one is nearly always enough."""


def _defuse_once(text: str) -> str:
    read = fold(text)
    edits: dict[tuple[int, int], str] = {}
    for pattern in (_PASSAGES, _TURN, _NUMBER):
        edits |= _bracketed(read, pattern, _indices(text))
    for match in _ROLE.finditer(read.text):
        start, end = read.starts[match.start("role")], read.ends[match.end("role") - 1]
        edits.setdefault((start, start), "(")
        edits.setdefault((end, end), ")")
    return _apply_edits(text, edits)


def _indices(text: str) -> frozenset[int]:
    """Character positions of indices in a text."""
    return frozenset(at for match in _INDEX.finditer(text) for at in range(match.start(), match.end()))


def _bracketed(read: FoldedText, pattern: re.Pattern[str], but: frozenset[int] = frozenset()) -> dict[tuple[int, int], str]:
    """Replacements of brackets in a pattern's matches by round ones, by position in the original, except at `but`."""
    places = [at for match in pattern.finditer(read.text) for at in range(match.start(), match.end())]
    found = {(read.starts[at], read.ends[at]): _BRACKETS[read.text[at]] for at in places if read.text[at] in _BRACKETS}
    return {place: new for place, new in found.items() if place[0] not in but}


def _apply_edits(text: str, edits: Mapping[tuple[int, int], str]) -> str:
    out, at = [], 0
    for (start, end), new in sorted(edits.items()):
        if start >= at:
            out += [text[at:start], new]
            at = end
    return "".join([*out, text[at:]])


def strip_tags(text: str, names: Sequence[str]) -> str:
    """The text without tags of these names, in any spelling: angle brackets become round ones.

    Hidden characters are removed; everything else is unchanged.
    """
    pattern = re.compile(rf"<\s*[/\\]?\s*(?:{'|'.join(map(_spaced, names))})\b[^<>\n]*>?")
    text = _HIDDEN.sub("", text)
    for _ in range(_MOST):
        read = fold(text)
        defused = _apply_edits(text, _bracketed(read, pattern))
        if defused == text:
            break
        text = defused
    return text


def has_mark(text: str) -> bool:
    """Whether the text contains a mark of the prompt or of a chat template, in any spelling."""
    read, indices = fold(text), _indices(text)
    return any(_bracketed(read, one, indices) for one in (_PASSAGES, _TURN, _NUMBER)) or bool(_ROLE.search(read.text))


def has_passage_tag(read: str) -> bool:
    """Whether a folded text contains a passages tag, which has no legitimate use elsewhere."""
    return bool(_PASSAGES.search(read))


def has_chat_tag(read: str) -> bool:
    """Whether a folded text has a chat template mark; <unk> and <pad> also occur in ordinary text."""
    return any(match[0] not in ("<unk>", "<pad>") for match in _TURN.finditer(read))


def split_special_tokens(text: str, specials: Sequence[str]) -> str:
    """The text with every spelling of a tokenizer's special tokens split by a space after the first character."""
    for special in specials:
        if special in text:
            text = text.replace(special, f"{special[0]} {special[1:]}")
    if text.isascii():
        return text
    read = fold(text)
    cuts: set[int] = set()
    for special in specials:
        sought = _sought(special)
        if len(sought) > 1 and sought in read.text:
            cuts |= {read.ends[match.start()] for match in re.finditer(re.escape(sought), read.text)}
    for at in sorted(cuts, reverse=True):
        text = f"{text[:at]} {text[at:]}"
    return text


@lru_cache(maxsize=1 << 14)
def _sought(special: str) -> str:
    return fold(special).text
