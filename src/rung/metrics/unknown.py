"""Detects answers that give no answer: empty, or saying that it is unknown."""

from __future__ import annotations

import re

_UNKNOWN = re.compile(
    r"\W*(?:(?:i do not know|i don['’]?t know|i cannot say)\b"
    r"|(?:unknown|no answer|unanswerable|(?:it is |it's )?not answerable|(?:it |this )?cannot be answered|n/a)\W*$)",
    re.IGNORECASE,
)


def is_unknown(text: str) -> bool:
    """Whether a text gives no answer. Texts that only start like one are answers: Unknown Pleasures, No answer is final."""
    return not text.strip() or _UNKNOWN.match(text) is not None
