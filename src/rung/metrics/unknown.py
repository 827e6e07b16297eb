"""What answers say where they give none: nothing at all, or that it is not known."""

from __future__ import annotations

import re

_UNKNOWN = re.compile(
    r"\W*(?:(?:i do not know|i don['’]?t know|i cannot say)\b"
    r"|(?:unknown|no answer|unanswerable|(?:it is |it's )?not answerable|(?:it |this )?cannot be answered|n/a)\W*$)",
    re.IGNORECASE,
)


def is_unknown(text: str) -> bool:
    """Whether an answer is none. A text that only begins like one is an answer: Unknown Pleasures, No answer is final."""
    return not text.strip() or _UNKNOWN.match(text) is not None
