"""The wording of a question, by which rows that ask the same are found."""

from __future__ import annotations

import re
import unicodedata

from rung.types import Example

_SENTENCE_MARKS = str.maketrans(
    dict.fromkeys("'’‘`", None) | dict.fromkeys('.,;:!?¿¡"“”„«»…。、，？！()', " ")  # can't is cant
)
_HYPHEN = re.compile(r"(?<=[^\W\d])[-‐‑–](?=[^\W\d])")  # top-up is top up, and 3-2 is not 3 2


def question(example: Example) -> str:
    """The normalised question with history, equal for spelling variants."""
    return "\n".join(_wording(text) for text in (*(message.content for message in example.history), example.input))


def normalise(text: str) -> str:
    """NFKC, casefolded, whitespace collapsed."""
    if text.isascii():
        return " ".join(text.lower().split())
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())  # case folding may undo NFKC


def _wording(text: str) -> str:
    """Normalised without punctuation; other symbols stay, since `2 + 3` is not `2 - 3`."""
    plain = normalise(text)
    return " ".join(_HYPHEN.sub(" ", plain).translate(_SENTENCE_MARKS).split()) or plain
