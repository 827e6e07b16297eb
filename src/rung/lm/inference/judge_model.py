"""An engine as a plain function from chats to one of some answers, for judges, which know nothing of engines."""

from __future__ import annotations

from collections.abc import Sequence

from rung.lm.base import Choice, Engine, Prompt
from rung.metrics.judge import Ask, JudgeReply
from rung.types import Message

ROOM = 8
"""Tokens that a mark may have."""


def asking(engine: Engine) -> Ask:
    """Asks the engine to choose. A chat over its context is not asked; what it says beside the options is told as it is."""

    def ask(chats: Sequence[tuple[Message, ...]], options: Sequence[str]) -> list[JudgeReply]:
        prompts = [Prompt(chat, chat[-1].content) for chat in chats]
        sizes = [engine.count(prompt) + ROOM for prompt in prompts]
        fitting = [prompt for prompt, size in zip(prompts, sizes) if size <= engine.context]
        found = iter(engine.choose(fitting, options) if fitting else ())
        return [
            _said(next(found)) if size <= engine.context else JudgeReply(error=f"{size} tokens are over the judge's context")
            for size in sizes
        ]

    return ask


def _said(choice: Choice) -> JudgeReply:
    """A call that failed may go through the next time; an answer that is no option is one all the same."""
    return JudgeReply(error=f"the judge: {choice.error}", again=not choice.final) if choice.error else JudgeReply(choice.label)
