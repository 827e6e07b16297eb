"""Tokens of a text without its tokenizer: an estimate for quotes, and a bound for what is set aside from a budget."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rung.lm.base import Prompt


def of_text(text: str) -> int:
    """About how many tokens a text has: one for four bytes."""
    return math.ceil(len(text.encode()) / 4)


def estimate(prompt: Prompt) -> int:
    """About how many tokens a prompt has: those of its texts, and four a message for who speaks."""
    return sum(of_text(m.content) + 4 for m in prompt.messages)


def bound(prompt: Prompt, labels: Sequence[str]) -> int:
    """More tokens than a prompt can have: a token has a byte at least. Some servers put the list of labels into it."""
    return sum(len(m.content.encode()) + 8 for m in prompt.messages) + 32 + sum(len(label.encode()) + 8 for label in labels)
