"""Token counts without a tokenizer: an estimate for quotes, and an upper bound for reservations from the budget."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rung.lm.base import Prompt


def estimate_text(text: str) -> int:
    """Estimated tokens of a text: one per four bytes."""
    return math.ceil(len(text.encode()) / 4)


def estimate(prompt: Prompt) -> int:
    """Estimated tokens of a prompt: those of its texts, and four per message for the role."""
    return sum(estimate_text(m.content) + 4 for m in prompt.messages)


def bound(prompt: Prompt, labels: Sequence[str]) -> int:
    """An upper bound on a prompt's tokens: each has at least one byte. Some servers add the list of labels."""
    return sum(len(m.content.encode()) + 8 for m in prompt.messages) + 32 + sum(len(label.encode()) + 8 for label in labels)
