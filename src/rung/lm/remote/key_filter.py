"""Removes the API key from everything a server sends, however it is spelled, before it is stored, shown or raised."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Any

HIDDEN = "[key]"
MIN_SECRET_LENGTH = 8
"""Below this length a key is not a secret (`none`, `test`), and only its exact spelling is removed: otherwise words would be."""
MAX_SEARCHED = 1_000_000
"""Characters above which a text with the key in it is hidden entirely, instead of searched for every spelling."""
MAX_DEPTH = 64
"""Most levels of nesting in an answer's JSON."""

_BETWEEN = r"[\s\u200b-\u200f\u2060\ufeff]{0,3}"
"""What may separate two characters of a key: whitespace and zero-width characters."""
_DROPPED = {ord(c): None for c in " \t\r\n\v\f\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\\"} | dict.fromkeys(
    (0x1C, 0x1D, 0x1E, 0x1F, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000)
)
_ESCAPE = re.compile(
    r"\\+u([0-9a-f]{4})|\\+u\{0*([0-9a-f]{1,5})\}|\\+x([0-9a-f]{2})|%([0-9a-f]{2})|&#x0*([0-9a-f]{1,5});|&#0*([0-9]{1,6});",
    re.IGNORECASE,
)


class KeyFilter:
    """Removes one key from texts and JSON. Without a key it changes nothing."""

    def __init__(self, key: str):
        self._short = key if len(key) < MIN_SECRET_LENGTH else ""
        self._marks = [] if self._short or not key else [_bare(mark) for mark in _spellings(key)]
        self._pattern = _pattern(key) if self._marks else None
        self._hold = 8 * len(key) + 16
        """Characters at the end of a text that may be the beginning of a key in a usual spelling."""

    def text(self, text: str) -> str:
        """The text without the key, and without lone surrogates, which cannot be written to a file."""
        if self._short:
            text = text.replace(self._short, HIDDEN)
        elif self._pattern and self.holds(text):
            text = self._pattern.sub(HIDDEN, text) if len(text) <= MAX_SEARCHED else HIDDEN
            text = HIDDEN if self.holds(text) else text
        return text if text.isascii() else text.encode(errors="replace").decode()

    def holds(self, text: str) -> bool:
        """Whether a text contains the key, in any spelling."""
        if not self._marks:
            return bool(self._short) and self._short in text
        bare = _bare(text)
        return any(mark in bare for mark in self._marks)

    def value(self, value: Any, depth: int = MAX_DEPTH) -> Any:
        """Parsed JSON without the key, in names and values at any depth. ValueError if it is nested too deeply."""
        if depth < 0:
            raise ValueError("nested too deep")
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.value(one, depth - 1) for one in value]
        if isinstance(value, dict):
            return {self.text(name): self.value(one, depth - 1) for name, one in value.items()}
        return value

    def short(self, text: str, letters: int = 300) -> str:
        """A server's text for an error message: on one line, at most `letters` characters."""
        most = 200 * letters
        if len(text) > most + self._hold:  # the key may be cut where the text is
            text = self.text(text[: most + self._hold])[:most]
        return " ".join(self.text(text).split())[:letters]

    def pieces(self, pieces: Iterator[str]) -> Iterator[str]:
        """The pieces of one text; a possible beginning of the key is held back until the next piece decides."""
        if not self._marks and not self._short:
            yield from pieces
            return
        held = ""
        for piece in pieces:
            held = self.text(held + piece)
            safe = len(held) - self._hold
            if safe > 0:
                yield held[:safe]
                held = held[safe:]
        if held:
            yield held


def _spellings(key: str) -> list[str]:
    """A key as it is and reversed, in hex, and in base64 at every offset."""
    both = (key, key[::-1])
    encoded = (code for raw in both for code in (raw.encode().hex(), *_base64(raw.encode())))
    return list(dict.fromkeys([*both, *encoded]))


def _bare(text: str) -> str:
    """A text unescaped, in lower case, without whitespace: equal for two spellings of a key."""
    for _ in range(3):
        if "\\" not in text and "%" not in text and "&#" not in text:
            break
        text = _ESCAPE.sub(_unescape, text)
    return text.translate(_DROPPED).lower()


def _unescape(found: re.Match[str]) -> str:
    code = int(found[6]) if found[6] else int(next(filter(None, found.groups())), 16)
    return chr(code) if code < 0x110000 else found[0]


def _pattern(key: str) -> re.Pattern[str]:
    """A pattern for all spellings of a key, its characters escaped or not, with whitespace between them."""
    return re.compile("|".join(_BETWEEN.join(map(_letter, spelled)) for spelled in _spellings(key)), re.IGNORECASE)


def _letter(c: str) -> str:
    """One character, plain or escaped as in JSON, Python, HTML or a URL."""
    code = f"{ord(c):x}"
    escapes = (
        rf"\\+u{code:0>4}",
        rf"\\+u\{{0*{code}\}}",
        rf"\\+x{code}",
        rf"%(?:25)*{code}",
        rf"&#0*{ord(c)};",
        rf"&#x0*{code};",
    )
    return rf"(?:\\*{re.escape(c)}|{'|'.join(escapes)})"


def _base64(raw: bytes) -> Iterator[str]:
    """The part of the base64 of a text around `raw` that does not depend on the rest of the text, for every offset."""
    for before in range(3):
        sure = (before + len(raw)) * 8 // 6
        for code in (base64.b64encode, base64.urlsafe_b64encode):
            yield code(b"\0" * before + raw)[(0, 2, 3)[before] : sure].decode()
