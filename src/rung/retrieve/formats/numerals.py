"""Numbers as lists show them: 3, c, C, iii, III."""

from __future__ import annotations

_ROMAN = (
    *((1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"), (40, "xl"), (10, "x"), (9, "ix")),
    *((5, "v"), (4, "iv"), (1, "i")),
)


def counted(number: int, form: str) -> str:
    """In a form as Word names them: decimal, decimalZero, lowerLetter, upperRoman and so on; unknown forms are decimal."""
    if form in ("lowerLetter", "upperLetter") and 0 < number <= 26 * 50:
        text = chr(ord("a") + (number - 1) % 26) * ((number - 1) // 26 + 1)
    elif form in ("lowerRoman", "upperRoman") and 0 < number < 4000:
        text = ""
        for value, letters in _ROMAN:
            text += letters * (number // value)
            number %= value
    else:
        return f"{number:02d}" if form == "decimalZero" else str(number)
    return text.upper() if form.startswith("upper") else text
