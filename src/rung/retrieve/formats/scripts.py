"""Raised and lowered text on one line: ten to the sixth is "10^6", not "106"; water is "H₂O"."""

from __future__ import annotations

import re

_LOWERED = str.maketrans("0123456789+-−=()", "₀₁₂₃₄₅₆₇₈₉₊₋₋₌₍₎")
_SIMPLE = re.compile(r"[+\-−–]?[\w.,′'*]+[+\-−]?|[+\-−*†‡§]+|\(.*\)", re.DOTALL)
_ORDINAL = re.compile(r"(?i)st|nd|rd|th|er|re|ère|e|ème|eme|nde|d|o|a|os|as|º|ª|te|ste|de")
_MARK = re.compile(r"[\[(]?[®™©℠*†‡§¶,]+[\])]?|[\[(].*[\])]", re.DOTALL)
"""Signs that are read as they stand, and references in brackets."""


def raised(before: str, text: str) -> str:
    """Superscript text as it follows `before`: with a caret, except ordinals, trade marks and references in brackets."""
    inner, base = text.strip(), before.rstrip()[-1:]
    if not inner or not base or _MARK.fullmatch(inner) or (base.isdigit() and _ORDINAL.fullmatch(inner)):
        return text
    return _around(text, "^" + grouped(inner))


def lowered(before: str, text: str) -> str:
    """Subscript text: digits and signs as the lowered characters of Unicode, anything else behind an underscore."""
    inner = text.strip()
    if not inner or not before.strip():
        return text
    if all(ord(char) in _LOWERED for char in inner):
        return _around(text, inner.translate(_LOWERED))
    return _around(text, "_" + grouped(inner))


def grouped(text: str) -> str:
    """In parentheses, unless it is one number or word."""
    return text if _SIMPLE.fullmatch(text) else f"({text})"


def _around(text: str, new: str) -> str:
    """`new` with the blanks that stand around `text`."""
    inner = text.strip()
    start = text.index(inner)
    return text[:start] + new + text[start + len(inner) :]
