"""Numbers in texts as values: equal if and only if they differ in notation alone.

Decimals, thousands in either convention, exponents, percent, fractions, ratios, times and dates. A value is named by a
short text without any arithmetic that a long number could make slow.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Literal

Mark = Literal[".", ","]
"""The decimal mark."""

LONGEST = 18
"""Digits of the parts of a fraction that is computed; longer ones are compared as they are written."""

PLAIN = r"\d{1,3}(?:\ \d{3})+(?!\d)(?:[.,]\d+)?(?!\d)|\d+(?:[.,']\d+)*|\.\d+"
"""A number without sign and exponent, with whatever stands between its digits."""
_RUN = re.compile(rf"(?<![\w.,/:])(?:{PLAIN})(?![\w/:])")
_GROUPED = r"\d{1,3}(?:%s\d{3})+"
_INDIAN = re.compile(r"\d{1,2}(?:,\d{2})*,\d{3}")
_ADDRESS = re.compile(r"(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.(?:25[0-5]|2[0-4]\d|1?\d?\d)){3}")

MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "january jan",
            "february feb",
            "march mar",
            "april apr",
            "may",
            "june jun",
            "july jul",
            "august aug",
            "september sept sep",
            "october oct",
            "november nov",
            "december dec",
        ),
        1,
    )
    for name in names.split()
}


def value(whole: str, part: str = "", exponent: int = 0, negative: bool = False) -> str:
    """The name of a decimal number: its digits without zeros at the ends, and the power of ten that they stand on."""
    digits = (whole + part).lstrip("0")
    bare = digits.rstrip("0")
    if not bare:
        return "0"
    return f"{'-' * negative}{bare}e{exponent - len(part) + len(digits) - len(bare)}"


def fraction(top: str, bottom: str, negative: bool = False, whole: str = "0") -> str:
    """The name of a fraction: of its value, or as written where its value is whole (21/1, 10/2: a date, odds, a score)."""
    written = f"{'-' * negative}{'' if whole == '0' else whole + ' '}{top.lstrip('0') or '0'}/{bottom.lstrip('0') or '0'}"
    if max(len(top), len(bottom), len(whole)) > LONGEST or not int(bottom):
        return written
    found = int(whole) + Fraction(int(top), int(bottom))
    if found.denominator == 1:
        return written
    two, five, rest = 0, 0, found.denominator
    while rest % 2 == 0:
        two, rest = two + 1, rest // 2
    while rest % 5 == 0:
        five, rest = five + 1, rest // 5
    if rest > 1:
        return f"{'-' * negative}{found.numerator}/{found.denominator}"
    places = max(two, five)
    return value(str(found.numerator * 10**places // found.denominator), exponent=-places, negative=negative)


def split_digits(text: str, mark: Mark) -> tuple[str, str] | None:
    """Digits before and after the decimal mark of a number; None if it is a code.

    `mark` decides ambiguous numbers (1,234 and 1.234); others show their own convention.
    """
    plain = text.replace(" ", "")
    if "'" in plain:
        if not re.fullmatch(r"\d{1,3}(?:'\d{3})+(?:[.,]\d+)?", plain):
            return None
        plain = plain.replace("'", "")
    commas, points = plain.count(","), plain.count(".")
    if not commas and not points:
        return None if len(plain) > 2 and plain[0] == "0" else (plain, "")  # 007 is a code
    if commas and points:
        last: Mark = "," if plain.rindex(",") > plain.rindex(".") else "."
        whole, _, part = plain.rpartition(last)
        grouped = _is_grouped(whole, "." if last == "," else ",")
        return (re.sub("[.,]", "", whole), part) if grouped else None
    sign: Mark = "," if commas else "."
    if commas + points > 1:
        return (plain.replace(sign, ""), "") if _is_grouped(plain, sign) else None
    if _could_be_either(plain) and sign != mark and " " not in text and "'" not in text:
        return plain.replace(sign, ""), ""
    whole, _, part = plain.partition(sign)
    return None if len(whole) > 1 and whole[0] == "0" else (whole, part)


def convention(text: str) -> Mark | None:
    """The decimal mark that a text's numbers clearly use; None if none or both."""
    marks = {mark for run in _RUN.findall(text) if (mark := _shown(run))}
    return marks.pop() if len(marks) == 1 else None


def _shown(run: str) -> Mark | None:
    commas, points = run.count(","), run.count(".")
    if commas and points:
        return ("," if run.rindex(",") > run.rindex(".") else ".") if split_digits(run, ".") else None
    if not commas and not points:
        return None
    sign: Mark = "," if commas else "."
    if commas + points > 1:  # thousands are set apart by the other mark
        return (("." if commas else ",") if _is_grouped(run, sign) else None) if " " not in run else None
    return None if _could_be_either(run) and " " not in run and "'" not in run else sign


def _could_be_either(run: str) -> bool:
    return re.fullmatch(r"[1-9]\d{0,2}[.,]\d{3}", run) is not None


def _is_grouped(run: str, sign: str) -> bool:
    if sign == "." and _ADDRESS.fullmatch(run):
        return False
    if run[0] == "0":
        return False
    return bool(re.fullmatch(_GROUPED % re.escape(sign), run)) or (sign == "," and bool(_INDIAN.fullmatch(run)))


def date(year: str, month: str, day: str) -> str | None:
    """The name of a date; None if it does not exist."""
    y, m, d = int(year), int(month), int(day)
    return f"{y:04}-{m:02}-{d:02}" if 1 <= m <= 12 and 1 <= d <= 31 else None


def slashed(first: str, second: str, year: str) -> str | None:
    """The name of a date whose first two numbers are day and month in an order that is not known: by what they can be.

    25/12/2024 and 12/25/2024 are one day; 5/1/2024 stays as written.
    """
    a, b = int(first), int(second)
    if a > 12 or a == b:
        return date(year, second, first)
    if b > 12:
        return date(year, first, second)
    return f"{a}/{b}/{year}" if a and b else None


def clock(hours: str, minutes: str, seconds: str | None, half: str) -> str | None:
    """The name of a time; None if it is not one (2:1, 16:95). Without am or pm the clock has 24 hours."""
    h, m, s = int(hours), int(minutes), seconds or ""
    if m > 59 or h > 24 or (s and int(s[:2]) > 59) or (half and not 1 <= h <= 12):
        return None
    if half:
        h = h % 12 + 12 * (half[0].casefold() == "p")
        s = "" if s.strip("0") == "" else s
    return f"{h}:{m:02}" + (f":{s}" if s else "")
