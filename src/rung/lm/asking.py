"""An engine as a plain function from chats to one of some answers, for judges, which know nothing of engines."""

from __future__ import annotations

from collections.abc import Sequence

from rung.lm.base import Engine, Prompt
from rung.metrics.judge import Ask
from rung.types import Message


def asking(engine: Engine) -> Ask:
    """Asks the engine to choose; None where a call failed, or where what it said is none of the options."""

    def ask(chats: Sequence[tuple[Message, ...]], options: Sequence[str]) -> list[str | None]:
        found = engine.choose([Prompt(chat, chat[-1].content) for chat in chats], options)
        return [choice.label if not choice.error and choice.label in options else None for choice in found]

    return ask
