"""Finds dates, times, fractions, ratios and numbers with units in a text."""

from __future__ import annotations

import re
from collections.abc import Callable

from rung.metrics import numbers, units
from rung.metrics.numbers import MONTHS, Mark

Found = tuple[str, int]
"""The name of a value, and where its text ends."""
Read = Callable[[re.Match[str]], str | None]

_EXPONENT = r"[eE](?P<e>[+-]?\d{1,6})(?!\w)|\s?[x×*·⋅]\s{0,2}10\s?(?:\^|\*\*)\s?[({]?(?P<ten>[+-]?\d{1,6})[)}]?"
_POWER = re.compile(r"(?:\^|\*\*)\s?[({]?([+-]?\d{1,6})[)}]?")
_SIGNED = rf"""
    (?:(?P<about>>=|<=|[<>≤≥±~≈])\s{{0,2}})?(?P<sign>[-+](?=[$€£¥₹₩A-Z.\d ]))?
    (?:(?P<cur>US\$|A\$|C\$|[$€£¥₹₩₽]|Rs\.?|(?:USD|EUR|GBP|JPY|CNY|RMB|INR|CHF|AUD|CAD|SEK|NOK|DKK|PLN)(?=\s?[-+]?[.\d]))\s{{0,2}})?
    (?P<sign2>[-+])?(?P<num>{numbers.PLAIN})"""
_NUMBER = re.compile(rf"{_SIGNED}(?:{_EXPONENT})?", re.VERBOSE)
_AFTER = re.compile(
    r"\s?(?P<scale>hundred|thousand|million|billion|trillion|mn|bn|tn)\b(?!\w)|\s{0,2}(?P<share>%|‰|per\s?cent\b|pct\b)",
    re.IGNORECASE,
)
_SHORT = re.compile(r"(\s?k|M)(?![\w/^])")
_SHORT_MONEY = re.compile(r"\s?([kKmMbB])(?![\w/^])")
"""5k is 5000 and 5M five million, but 5 M is molar; of money also K, m and b, which elsewhere are kelvin, metres and bytes."""
_UNIT = re.compile(rf"\s{{0,2}}(?P<unit>{units.pattern(units.UNITS | units.CURRENCIES)})(?![\w°]|[/^]\w)", re.IGNORECASE)
_FRACTION = re.compile(
    r"(?P<sign>[-+])?(?:(?P<whole>\d{1,18})\ )?(?P<top>\d+)(?P<gap>\s?)/(?P=gap)(?P<bottom>\d+)(?![\w/]|[.,]\d)"
)
_RATIO = re.compile(r"\d+(?P<gap>\s?):(?P=gap)\d+(?:(?P=gap):(?P=gap)\d+)*(?![\w]|[.,]\d)")
_CLOCK = re.compile(
    r"(?P<h>\d{1,2}):(?P<m>\d{2})(?::(?P<s>\d{2}(?:\.\d+)?))?(?:\s?(?P<half>[ap]\.?m\b\.?)|(?P<zone>Z))?(?![\w:]|[.,]\d)",
    re.IGNORECASE,
)
_HOUR = re.compile(r"(?P<h>\d{1,2})\s?(?P<half>[ap]\.?m\b\.?)(?!\w)", re.IGNORECASE)
_ISO = re.compile(
    r"(?P<y>\d{4})(?P<gap>[-/.])(?P<m>\d{1,2})(?P=gap)(?P<d>\d{1,2})(?![\d/]|-\d|\.\d)"
    r"(?:[T ]00:00(?::00(?:\.0+)?)?(?![\d:.+-]|\s?[ap]\.?m|Z)|(?=T\d)T)?",
    re.IGNORECASE,
)
"""A time of midnight is what programs write behind a date that has none."""
_POINTED = re.compile(r"(?P<d>\d{1,2})\.\s?(?P<m>\d{1,2})\.\s?(?P<y>\d{4})(?!\d)")
_SLASHED = re.compile(r"(?P<a>\d{1,2})(?P<gap>[-/])(?P<b>\d{1,2})(?P=gap)(?P<y>\d{4})(?![\d/-])")
_names = "|".join(sorted(MONTHS, key=len, reverse=True))
_DAY_FIRST = re.compile(
    rf"(?P<d>\d{{1,2}})(?:st|nd|rd|th|\.)?\s(?:of\s)?(?P<m>{_names})\b\.?,?\s(?P<y>\d{{4}})(?!\d)", re.IGNORECASE
)
_MONTH_FIRST = re.compile(rf"(?P<m>{_names})\b\.?\s(?P<d>\d{{1,2}})(?:st|nd|rd|th)?,?\s(?P<y>\d{{4}})(?!\d)", re.IGNORECASE)
_DAY_MONTH = re.compile(rf"(?P<d>\d{{1,2}})(?:st|nd|rd|th|\.)? (?:of )?(?P<m>{_names})\b(?!\w)", re.IGNORECASE)
_MONTH_DAY = re.compile(rf"(?P<m>{_names})\b\.? (?P<d>\d{{1,2}})(?:st|nd|rd|th)?(?![\w:%/]|[.,]\d)", re.IGNORECASE)
_CODE = re.compile(r"\d+'\d+\"?|[\d.]*\d")

_NUMBERED = frozenset(
    {
        *("version", "v", "ver", "release", "build", "section", "sections", "chapter", "clause", "article", "figure", "fig"),
        *("table", "paragraph", "para", "§", "step", "python", "java", "node", "php", "appendix", "annex", "rule", "item"),
    }
)
"""Words before ordinal codes: section 3.10 is not section 3.1."""
_SCALES = {"hundred": 2, "thousand": 3, "million": 6, "mn": 6, "billion": 9, "bn": 9, "trillion": 12, "tn": 12}


def find(text: str, at: int, mark: Mark, before: str) -> Found | None:
    """A date, time, fraction, ratio or number starting at `at`."""
    character, previous = text[at], text[at - 1] if at else " "
    forms: tuple[tuple[re.Pattern[str], Read], ...] = ()
    if character.isdigit():
        if previous == "_" or (previous.isalnum() and not before.startswith(":")):  # 10_2, K0; but 2024-01-05T10:00
            return None
        forms = () if previous in "/:" and text[at - 2 : at - 1].isdigit() else _FORMS
    elif character.casefold() in "jfmasond":
        forms = ((_MONTH_FIRST, _named_date), (_MONTH_DAY, _named_day))
    elif character in "+-":
        if previous.isalnum() or previous in ")]":  # 3-2
            return None
        forms = ((_FRACTION, _fraction),)
    for form, read in forms:
        if (found := form.match(text, at)) and (name := read(found)):
            return f":{name}", found.end()
    return None if character.islower() else _number(text, at, mark, before)


def _number(text: str, at: int, mark: Mark, before: str) -> Found | None:
    found = _NUMBER.match(text, at)
    if found is None:
        return None
    run, end = found["num"], found.end()
    first = found.start("num")
    if before in _NUMBERED and found.start() == first and (code := _CODE.match(text, at)):
        return (f":={code.group()}", code.end()) if not _goes_on(text, code.end()) else None
    powered = found["e"] or found["ten"]
    own: Mark = "," if "," in run else "."
    digits = numbers.split_digits(run, own if powered else mark)  # before a power of ten no thousands are set apart
    if digits is None and (code := _CODE.match(text, first)):
        run, end = code.group(), code.end()
    exponent = 0 if end < found.end() else int(powered or 0)
    if run == "10" and (power := _POWER.match(text, end)):
        digits, exponent, end = ("1", ""), int(power[1]), power.end()
    short = (_SHORT_MONEY if found["cur"] else _SHORT).match(text, end) if digits else None
    if short:
        exponent, end = exponent + {"k": 3, "m": 6, "b": 9}[short[1].strip().lower()], short.end()
    exponent, end, share = _scaled(text, end, exponent)
    unit, end = ("", end) if share else _unit(text, end, bool(found["cur"]))
    if not unit and not share and text[end : end + 1] in ("'", '"') and text.count(text[end]) == 1:  # 5' and 5", unquoted
        unit, end = text[end], end + 1
    if _goes_on(text, end):
        return None
    negative = "-" in (found["sign"] or "") + (found["sign2"] or "")
    name = numbers.value(*digits, exponent, negative) if digits else f"{'-' * negative}={run}{'%' * bool(share)}"
    money = units.unit(found["cur"]) if found["cur"] else ""
    about = {">=": "≥", "<=": "≤"}.get(found["about"] or "", found["about"] or "")
    return " ".join(part for part in (f":{about}{name}", money, unit) if part), end


def _goes_on(text: str, end: int) -> bool:
    """Whether letters stand straight behind a number: then it is part of a name (3D, 2nd, 4x4)."""
    return end < len(text) and (text[end].isalpha() or text[end] == "_")


def _scaled(text: str, end: int, exponent: int) -> tuple[int, int, str]:
    """The exponent with a word for thousands or millions and a percent sign; where they end; the sign."""
    share = ""
    for _ in range(2):
        found = _AFTER.match(text, end)
        if not found:
            break
        end = found.end()
        if found["scale"]:
            exponent += _SCALES[found["scale"].casefold()]
            continue
        share = found["share"]
        exponent -= 3 if share == "‰" else 2
        break
    return exponent, end, share


def _unit(text: str, end: int, money: bool) -> tuple[str, int]:
    found = _UNIT.match(text, end)
    name = units.unit(found["unit"]) if found else ""
    if not found or not name or (money and name in units.MONEY):
        return "", end
    return name, found.end()


def _fraction(found: re.Match[str]) -> str | None:
    top, bottom, part = found["top"], found["bottom"], found["whole"]
    if part and (len(top), top) >= (len(bottom), bottom):  # 3 4/2 is no mixed number
        return None
    return numbers.fraction(top, bottom, found["sign"] == "-", part or "0")


def _named_date(found: re.Match[str]) -> str | None:
    return numbers.date(found["y"], str(MONTHS[found["m"].casefold()]), found["d"])


def _named_day(found: re.Match[str]) -> str | None:
    """A day of any year. None for `1. March` in a list of several lines, and for `may 5 kg`."""
    text, start, end = found.string, found.start(), found.end()
    pointed = text.startswith(".", found.end("d"))
    if pointed and "\n" in text and text[:start].rstrip(" \t")[-1:] in ("", "\n"):
        return None
    if end == found.end("d") and (_AFTER.match(text, end) or _UNIT.match(text, end)):
        return None
    named = numbers.date("0", str(MONTHS[found["m"].casefold()]), found["d"])
    return named and named.replace("0000", "-")


def _clock(found: re.Match[str]) -> str | None:
    time = numbers.clock(found["h"], found["m"], found["s"], found["half"] or "")
    return f"{time}Z" if time and found["zone"] else time


def _ratio(found: re.Match[str]) -> str:
    return ":".join(part.strip().lstrip("0") or "0" for part in found.group().split(":"))


_FORMS: tuple[tuple[re.Pattern[str], Read], ...] = (
    (_ISO, lambda found: numbers.date(found["y"], found["m"], found["d"])),
    (_POINTED, lambda found: numbers.date(found["y"], found["m"], found["d"])),
    (_SLASHED, lambda found: numbers.slashed(found["a"], found["b"], found["y"])),
    (_DAY_FIRST, _named_date),
    (_DAY_MONTH, _named_day),
    (_CLOCK, _clock),
    (_HOUR, lambda found: numbers.clock(found["h"], "0", None, found["half"])),
    (_RATIO, _ratio),
    (_FRACTION, _fraction),
)
