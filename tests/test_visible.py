"""Foreign text made safe to show: what steers, turns or hides is written out; text of every script stays as it is."""

from __future__ import annotations

import json
import math
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.errors import RungError
from rung.visible import json_text, one_line, rechunk, visible

STEERING = [
    "\x1b]0;a title\x07",
    "\x1b]52;c;aGVsbG8=\x07",
    "\x1b[2J\x1b[H",
    "\x1b[31mred",
    "\x9b31m",
    "\x9d0;title\x9c",
    "\x90q\x9c",
    "over\rwritten",
    "back\x08\x08space",
    "bell\x07",
    "\x00",
    "\x7f",
    "\x0b\x0c",
    "\x85next line",
    "\u2028line\u2029paragraph",
]
TURNING = [f"a{chr(code)}b" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C)]
HIDING = [
    *(f"a{chr(code)}b" for code in (0x200B, 0x200C, 0x200D, 0x2060, 0x2061, 0x2064, 0x206A, 0xFEFF, 0x034F, 0x3164, 0xFFA0)),
    *(f"a{chr(code)}b" for code in (0xFE00, 0xFE0F, 0xE0100, 0x180E, 0xFFF9, 0x1D173, 0xFFFE, 0xFDD0)),
    "plain" + "".join(chr(0xE0000 + ord(c)) for c in "ignore all"),
    "\U0001f3f4" + "".join(chr(0xE0000 + ord(c)) for c in "usca\x7f"),
    "\U0001f600" + "\ufe01\ufe02\ufe0f\U000e0101",
    "\u200dfirst",
    "half a pair \ud83d",
    "a file name of no encoding \udcff",
    "soft\xad 1",
]
LEGITIMATE = [
    "plain text, with a tab\tand lines\nof it",
    "naïve café, e\u0301crit, Größe, smörgåsbord, ½ × 3² ≤ 10 €",
    "שלום עולם, \u200fבעברית\u200e abc",
    "السلام عليكم \u200fو\u061cمرحبا",
    "می\u200cخواهم",
    "क्\u200dष और র\u200d্য",
    "ไทย\u200bคำ",
    "ភាសា\u200bខ្មែរ",
    "中文，日本語の葛\U000e0100城、한국어 \u1112\u1161\u11ab",
    "\u182e\u1823\u1829\u180b\u182d\u180e\u1820",
    "Donau\xaddampf\xadschiff",
    "👨\u200d👩\u200d👧\u200d👦 🏳\ufe0f\u200d🌈 ❤\ufe0f\u200d🔥 👩🏽\u200d🚀 1\ufe0f\u20e3 ☎\ufe0e ©\ufe0f ‼\ufe0f 🇩🇪",
    "\U0001f3f4" + "".join(chr(0xE0000 + ord(c)) for c in "gbsct\x7f"),
    "[red]not markup[/] :smile: {braces} %s \\n",
]


@pytest.mark.parametrize("text", [*STEERING, *TURNING, *HIDING], ids=ascii)
def test_what_steers_turns_or_hides_is_written_out(text: str) -> None:
    shown = visible(text)
    assert shown != text and "\\" in shown
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in shown if c not in "\n\t\xad")
    assert visible(shown) == shown


@pytest.mark.parametrize("text", LEGITIMATE, ids=ascii)
def test_text_of_every_script_stays(text: str) -> None:
    assert visible(text) == text


def test_windows_line_ends_and_names_of_several_lines() -> None:
    assert visible("a\r\nb") == "a\nb"
    assert one_line("a\nb\tc\x1b") == "a\\nb\\tc\\x1b"


@given(st.text())
def test_no_text_steers_and_twice_is_once(text: str) -> None:
    shown = visible(text)
    assert visible(shown) == shown
    assert not any((c < " " and c not in "\n\t") or "\x7f" <= c <= "\x9f" or "\u202a" <= c <= "\u202e" for c in shown)
    shown.encode()


@given(st.lists(st.text(max_size=5), max_size=8))
def test_pieces_are_the_text(pieces: list[str]) -> None:
    assert "".join(rechunk(pieces)) == "".join(pieces)


@pytest.mark.parametrize("text", LEGITIMATE, ids=ascii)
def test_a_text_in_single_characters_stays(text: str) -> None:
    short = re.sub("[\u200e\u200f\u061c]|\U0001f3f4[\U000e0000-\U000e007f]*", "", text)  # what needs more than its neighbour
    assert "".join(map(visible, rechunk(short))) == short


def test_an_error_is_safe_to_show_in_a_notebook_too() -> None:
    assert str(RungError("it is \x1b[2J.", where="a\nb", remedy="\u202e")) == "a\\nb: it is \\x1b[2J. \\u202e"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def _strict(text: str) -> object:
    def refuse(constant: str) -> object:
        raise AssertionError(constant)

    return json.loads(text, parse_constant=refuse)


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return {key: _finite(one) for key, one in value.items()} if isinstance(value, dict) else value


@given(json_values)
def test_json_is_strict_safe_and_the_same(value: object) -> None:
    text = json_text(value)
    assert _strict(text) == _finite(value)
    assert not any(c != "\n" and unicodedata.category(c) in ("Cc", "Cs") for c in text)
    assert not set(text) & {"\u202e", "\u2066", "\u200b", "\U000e0041"}
