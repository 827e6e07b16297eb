"""Characters of the fonts Symbol and Wingdings, which stand in documents as numbers. Adobe's Symbol encoding; Unicode 7 names."""

from __future__ import annotations

LOST = "\ufffd"
"""For a character of which nothing is known but its number."""

_SYMBOL = dict(
    zip(
        range(0x20, 0x7F),
        " !∀#∃%&∋()∗+,−./0123456789:;<=>?≅ΑΒΧ∆ΕΦΓΗΙϑΚΛΜΝΟΠΘΡΣΤΥςΩΞΨΖ[∴]⊥_‾αβχδεφγηιϕκλμνοπθρστυϖωξψζ{|}∼",
        strict=True,
    )
) | dict(
    zip(
        range(0xA0, 0xFF),
        "€ϒ′≤⁄∞ƒ♣♦♥♠↔←↑→↓°±″≥×∝∂•÷≠≡≈…⏐⎯↵ℵℑℜ℘⊗⊕∅∩∪⊃⊇⊄⊂⊆∈∉∠∇®©™∏√⋅¬∧∨⇔⇐⇑⇒⇓◊〈®©™∑⎛⎜⎝⎡⎢⎣⎧⎨⎩⎪\ufffd〉∫⌠⎮⌡⎞⎟⎠⎤⎥⎦⎫⎬⎭",
        strict=True,
    )
)
_WINGDINGS = {
    **dict(zip(range(0x80, 0x8B), "⓪①②③④⑤⑥⑦⑧⑨⑩", strict=True)),
    **dict(zip(range(0x8B, 0x96), "⓿❶❷❸❹❺❻❼❽❾❿", strict=True)),
    0x22: "✂",
    0x28: "☎",
    0x29: "✆",
    0x2A: "✉",
    0x36: "⌛",
    0x3F: "✍",
    0x41: "✌",
    0x43: "👍",
    0x44: "👎",
    0x46: "☞",
    0x4A: "☺",
    0x4C: "☹",
    0x4E: "☠",
    0x52: "☼",
    0x54: "❄",
    0x6C: "●",
    0x6D: "❍",
    0x6E: "■",
    0x6F: "□",
    0x71: "❑",
    0x72: "❒",
    0x74: "⧫",
    0x75: "◆",
    0x76: "❖",
    0x77: "⬥",
    0x9E: "·",
    0x9F: "•",
    0xA1: "○",
    0xA4: "◉",
    0xA7: "▪",
    0xA8: "◻",
    0xAB: "★",
    0xD8: "➢",
    0xDF: "←",
    0xE0: "→",
    0xE1: "↑",
    0xE2: "↓",
    0xE8: "➔",
    0xEF: "⇦",
    0xF0: "⇨",
    0xF1: "⇧",
    0xF2: "⇩",
    0xF3: "⬄",
    0xFB: "✗",
    0xFC: "✓",
    0xFD: "☒",
    0xFE: "☑",
    0x20: " ",
}
_WINGDINGS_2 = {0x4F: "✗", 0x50: "✓", 0x51: "☒", 0x52: "☑", 0x53: "☒", 0x54: "☒", 0x96: "•", 0x97: "●", 0xA3: "□", 0x20: " "}
_WINGDINGS_3 = {0x66: "←", 0x67: "→", 0x68: "↑", 0x69: "↓", 0x70: "▲", 0x71: "▼", 0x74: "◀", 0x75: "▶", 0x20: " "}
_FONTS = {
    "symbol": _SYMBOL,
    "wingdings": _WINGDINGS,
    "wingdings 2": _WINGDINGS_2,
    "wingdings 3": _WINGDINGS_3,
}


def symbol(font: str, number: int) -> str:
    """The character that a font shows for a number; LOST where the font is unknown and the number is no character by itself."""
    code = number - 0xF000 if 0xF000 <= number <= 0xF0FF else number
    known = _FONTS.get(font.strip().lower())
    if known is not None and code <= 0xFF:
        return known.get(code, LOST)
    private = 0xE000 <= number <= 0xF8FF or 0xD800 <= number <= 0xDFFF or number > 0x10FFFF or number < 0x20
    return LOST if private else chr(number)


def in_font(font: str, text: str) -> str:
    """Text in that font as it is seen; in other fonts it stays."""
    known = _FONTS.get(font.strip().lower(), {})
    return "".join(known.get(ord(char) & 0xFF if 0xF000 <= ord(char) <= 0xF0FF else ord(char), char) for char in text)
