"""Normalises characters: full-width forms, digits of every script, dashes, quotes and markdown."""

from __future__ import annotations

import re
import unicodedata

from rung.metrics import numbers

UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO ", "KHMER", "MYANMAR")
_RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-"))
_LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉", "0123456789"))
_raised = re.compile(f"[{''.join(_RAISED)}]+")
_lowered = re.compile(f"(\\d?)([{''.join(_LOWERED)}]+)")
_times = re.compile(r"(?<=\d)\s?·\s?(?=10(?:\D|$))")
"""The dot before a power of ten; elsewhere it parts words."""
_unequal = re.compile(r"(?<![\d)])(?<!\b[nk])!=")
"""Not the factorial in 5!=120 and n!=120."""
_broken = re.compile(r"(?<=\d)(?=[¼-¾⅐-⅞↉])")
_SAME = {
    **dict.fromkeys("‐‑‒–—−﹣－", "-"),
    **dict.fromkeys("’‘ʼ‛", "'"),
    **dict.fromkeys("“”„‟«»‹›", '"'),
    **dict.fromkeys("⁄∕", "/"),
    "º": "°",
    "٫": ".",
    "٬": ",",
    "؟": "?",
    "٪": "%",
    "≦": "≤",
    "≧": "≥",
}
_KEPT = "§‰°′″"


class _Even(dict[int, str]):
    """Lazy translation to plain characters; digits of every script become 0 to 9."""

    def __missing__(self, code: int) -> str:
        return self.setdefault(code, self._of(chr(code)))

    def _of(self, character: str) -> str:
        if character in _SAME:
            return _SAME[character]
        if character in _KEPT or (character.isascii() and character.isprintable()):
            return character
        sort = unicodedata.category(character)
        if sort == "Nd":
            return str(unicodedata.decimal(character))
        if sort in ("Cf", "Cc"):
            return " " if character.isspace() else ""
        if sort[0] in "PZ":
            return " "
        apart = sort[0] == "S" or unicodedata.name(character, "").startswith(UNSPACED)
        return f" {character} " if apart else character


_even = _Even()
_emphasis = re.compile(r"(?<![\w*])(\*{1,3}|_{1,3})(?=[^\s*_])(.+?)(?<=[^\s*_])\1(?![\w*])")
_list = re.compile(r"(?<![\w.,])\d+(?:\.\d+)?(?:,\d+(?:\.\d+)?){2,}(?![\w,])")
_line_marks = re.compile(r"^[ \t]*(?:#{1,6}|[*•>])[ \t]+", re.MULTILINE)


def plain_text(text: str) -> str:
    """The text with normalised characters: full-width forms, digits, dashes, quotes, invisible characters, markdown."""
    if "=" in text:
        text = _unequal.sub("≠", text).replace("<=", "≤").replace(">=", "≥")
    if not text.isascii():
        text = _times.sub("×", text)
        text = _raised.sub(lambda some: "^" + "".join(map(_RAISED.__getitem__, some.group())), text)
        text = _lowered.sub(_set_low, text)
        text = _broken.sub(" ", text.replace("º", "°"))
        text = unicodedata.normalize("NFKC", text).translate(_even)
    if "*" in text or "_" in text:
        text = _emphasis.sub(r"\2", text)
    return _list.sub(_apart, _line_marks.sub("", text))


def _apart(found: re.Match[str]) -> str:
    """1,2,3 is three numbers, 1,234,567 is one."""
    return found.group() if numbers.split_digits(found.group(), ".") else found.group().replace(",", ", ")


def _set_low(found: re.Match[str]) -> str:
    """H₂O is H2O, and 10₂ is not 102."""
    digits = "".join(map(_LOWERED.__getitem__, found.group(2)))
    return f"{found.group(1)}_{digits}" if found.group(1) else digits
