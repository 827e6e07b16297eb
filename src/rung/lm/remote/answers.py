"""What an endpoint said, or why it said nothing, as an answer or a choice of a label."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rung.lm.base import Choice, Completion
from rung.lm.remote import label_matching
from rung.lm.remote.wire import Reply


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a question has no reply."""

    why: str
    final: bool
    """The refusal is permanent: a retry would bring the same."""


def completion(found: Reply | Failure) -> Completion:
    """A reply as a written answer."""
    if isinstance(found, Failure):
        return Completion("", finished=False, error=found.why, final=found.final)
    lacking = found.unanswered
    return Completion(found.text, finished=found.finished, error=lacking, final=bool(lacking), **_taken(found))


def choice(found: Reply | Failure, labels: Sequence[str]) -> Choice:
    """A reply as a label; one that names none is the text itself, and wrong."""
    if isinstance(found, Failure):
        return Choice("", math.nan, None, error=found.why, final=found.final)
    if found.unanswered:
        return Choice("", math.nan, None, error=found.unanswered, final=True, **_taken(found))
    if not found.text.strip():
        return Choice("", math.nan, None, error="the answer is empty.", final=True, **_taken(found))
    label = label_matching.match_label(found.text, labels)
    sure = label_matching.confidence(label, found.text, found.tokens) if label else None
    logprob = math.log(sure) if sure else math.nan
    return Choice(label or found.text, logprob, sure, **_taken(found))


def _taken(reply: Reply) -> dict[str, Any]:
    usage = reply.usage
    assert usage, "a reply from the ledger has its usage"
    return {
        "tokens_in": usage.tokens_in,
        "tokens_out": usage.tokens_out,
        "tokens_cached": usage.tokens_cached,
        "seconds": reply.seconds,
    }
