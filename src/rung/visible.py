"""Makes untrusted text safe to show: escapes control, bidirectional override and invisible characters.

File names, rows, documents, answers, server replies and settings come from elsewhere. Raw, they could set a terminal's title or
clipboard, overwrite lines, or look different from what they are. Legitimate text of every script is unchanged: joiners between
joining letters, direction marks in right-to-left text, emoji sequences and flags.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

_SUSPECT = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ud800-\udfff\ufdd0-\ufdef\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"
    "\U00013430-\U0001345f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""Characters that are shown raw only if their neighbours require them; most never."""

_LAST = re.compile(rf"[\s\S](?:{_SUSPECT.pattern})*\Z")
_MAX_BUFFERED = 64
"""Maximum characters of a stream that are buffered until their successors are known."""

_FLAGS = tuple(
    "\U0001f3f4" + "".join(chr(0xE0000 + ord(letter)) for letter in region) + "\U000e007f"
    for region in ("gbeng", "gbsct", "gbwls")
)
"""Flags written with tag characters: England, Scotland, Wales."""

_JOINERS = frozenset("\u200b\u200c\u200d\u034f")
_MARKS_OF_DIRECTION = frozenset("\u061c\u200e\u200f")
_ALPHABETS = ("LATIN", "GREEK", "CYRILLIC", "COMBINING")
"""Scripts whose letters do not join, so that invisible characters between them are misleading."""


_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Never shown raw."""


def visible(text: str) -> str:
    """The text with control, override and invisible characters escaped as \\x1b; line ends and tabs stay.

    CR LF becomes LF. Idempotent.
    """
    return _replaced(text, replacements(text))


def replacements(text: str) -> list[tuple[int, str]]:
    """Positions of characters to escape, in order, with their replacements."""
    if _SUSPECT.search(text) is None:
        return []
    flags = {place for flag in _FLAGS for match in re.finditer(flag, text) for place in range(*match.span())}
    right_to_left = any(unicodedata.bidirectional(c) in ("R", "AL") and c.isalpha() for c in text)
    found = []
    for match in _SUSPECT.finditer(text):
        at, char = match.start(), match.group()
        if at in flags or (char in _MARKS_OF_DIRECTION and right_to_left) or _belongs(text, at):
            continue
        found.append((at, "" if text[at : at + 2] == "\r\n" else escape(char)))
    return found


def escape_controls(text: str) -> str:
    """Escape control characters in a part of a text that already passed `visible` as a whole."""
    return _CONTROLS.sub(lambda match: escape(match.group()), text)


def _replaced(text: str, places: list[tuple[int, str]]) -> str:
    if not places:
        return text
    parts, done = [], 0
    for at, instead in places:
        parts += [text[done:at], instead]
        done = at + 1
    return "".join([*parts, text[done:]])


def one_line(text: str) -> str:
    """As `visible`, also escaping line ends and tabs: for names, which must not start a new line."""
    return visible(text).replace("\n", "\\n").replace("\t", "\\t")


def escape(char: str) -> str:
    """A character as a Python escape: \\x1b, \\u202e, \\U000e0041."""
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _belongs(text: str, at: int) -> bool:
    """Whether an invisible character is legitimate next to its neighbours."""
    char, before, after = text[at], text[at - 1 : at], text[at + 1 : at + 2]
    if not before or (_SUSPECT.match(before) and before not in "\ufe0e\ufe0f"):
        return False
    if char == "\xad":
        return before.isalpha() and (not after or after.isalpha())  # a stream may be cut here
    if char in _JOINERS:
        return _joins(before)
    name = unicodedata.name(before, "")
    match char:
        case "\ufe0e" | "\ufe0f":
            return before not in "\ufe0e\ufe0f" and _drawn_two_ways(before)
        case "\u115f" | "\u1160":
            return name.startswith("HANGUL") or (bool(after) and unicodedata.name(after, "").startswith("HANGUL"))
    if "\ufe00" <= char <= "\ufe0d":
        return unicodedata.category(before) in ("Lo", "Sm", "So")
    if "\u180b" <= char <= "\u180f":
        return name.startswith("MONGOLIAN")
    if "\U000e0100" <= char <= "\U000e01ef":
        return name.startswith("CJK")
    return "\U00013430" <= char <= "\U0001345f" and name.startswith("EGYPTIAN")


def _drawn_two_ways(char: str) -> bool:
    """Whether a character has text and emoji presentation: symbols, and keycap digits."""
    return char in "0123456789#*" or unicodedata.category(char) in ("So", "Sm", "Po", "Pd", "Lo", "Sk")


def _joins(before: str) -> bool:
    """Whether a joiner may follow: a letter or mark of a joining script, or part of an emoji."""
    if before in "\ufe0e\ufe0f":
        return True
    category = unicodedata.category(before)
    if category in ("So", "Sk"):
        return ord(before) > 0xFF
    return category[0] in "LM" and not before.isascii() and not unicodedata.name(before, "").startswith(_ALPHABETS)


def rechunk(pieces: Iterable[str]) -> Iterator[str]:
    """Re-chunk a stream so that no invisible character is separated from its base."""
    held = ""
    for piece in pieces:
        held += piece
        cut = _LAST.search(held)
        at = cut.start() if cut and len(held) - cut.start() < _MAX_BUFFERED else len(held)
        if held[:at]:
            yield held[:at]
        held = held[at:]
    if held:
        yield held


def json_text(value: Any, default: Callable[[Any], Any] = str, *, compact: bool = False) -> str:
    """A value as strict JSON that is safe to show: null for NaN and Infinity, control and invisible characters escaped.

    JSON parsers read the \\uXXXX escapes as the same text.
    """
    form: dict[str, Any] = {"separators": (",", ":")} if compact else {"indent": 1}
    text = json.dumps(_finite(value, default), ensure_ascii=False, allow_nan=False, **form)
    return _SUSPECT.sub(lambda match: json.dumps(match.group())[1:-1], text)


def _finite(value: Any, default: Callable[[Any], Any]) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(one, default) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one, default) for one in value]
    return value if value is None or isinstance(value, str | int) else _finite(default(value), default)


def print_visible(text: str) -> None:
    """Print a line for users of the Python API."""
    print(visible(text))
