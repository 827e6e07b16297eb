"""Texts on which tokenizers that mostly agree come apart, compared in every proof."""

DIFFICULT = (
    "  12  345 6789 0",
    "It's DON'T we'll I'VE they'd",
    "naïve café Straße ﬁ ½",
    "日本語のテキスト 한국어 Ελληνικά русский עברית العربية",
    "tab\tand\n\n\nlines  \r\n end ",
    "🙂👩‍👩‍👧🇫🇷 ✓",
    "def f(x_1):\n    return x_1 ** 2  # 3.14e-10",
    'https://example.org/a?b=c&d=%20#e <b>&amp;</b> {"k": [1, 2]}',
    "non\u00a0breaking, zero\u200bwidth",
    "",
    " ",
)
"""Texts on which tokenizers that mostly agree come apart: blanks before digits, other scripts, marks.

All are in Unicode's composed form: llama.cpp does not normalise, as some tokenizers do.
"""
