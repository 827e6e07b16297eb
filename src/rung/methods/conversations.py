"""Training rows of examples: of a conversation every answer is a target, and its tokens are computed once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rung.data.conversations import exchanges
from rung.types import Example

if TYPE_CHECKING:
    from rung.lm.engines import Engines
    from rung.lm.models.chat import Chat
    from rung.lm.trees.tree import Row
    from rung.predictor import Predictor


def taught_rows(
    chat: Chat, start: Predictor, rows: Sequence[Example], engines: Engines, every_answer: bool
) -> tuple[list[Row], int]:
    """Rows to train on with the prompts of `start`, and how many of the lessons lack their earliest turns.

    `every_answer`: the assistant's earlier answers are targets too, unless answers come from passages or after reasoning.
    """
    whole = every_answer and not (start.lookup or start.thinking)
    several = [exchanges(row) if whole else (row,) for row in rows]
    found = start.lessons([turn for turns in several for turn in turns], engines)
    lessons = iter(found)
    out: list[Row] = []
    for turns in several:
        out += joined([chat.row(prompt.messages, answer) for prompt, answer in (next(lessons) for _ in turns)])
    return out, sum(bool(prompt.left_out) for prompt, _ in found)


def joined(rows: Sequence[Row]) -> list[Row]:
    """Rows of one conversation, shortest first, as few as possible: one that continues another has the targets of both.

    A template that renders an earlier answer in another way than the last one leaves them apart.
    """
    from rung.lm.trees.tree import Row

    out: list[Row] = []
    for row in rows:
        before = out[-1] if out else None
        if before and row.tokens[: len(before.tokens)] == before.tokens:
            out[-1] = Row(row.tokens, before.targets + row.targets[len(before.targets) :], row.weight)
        else:
            out.append(row)
    return out
