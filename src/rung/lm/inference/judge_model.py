"""An LLM judge's engine as a plain function from chats to options: metrics do not depend on engines."""

from __future__ import annotations

from collections.abc import Sequence

from rung.lm.base import Choice, Engine, Prompt
from rung.metrics.judge import Ask, JudgeReply
from rung.types import Message

REPLY_TOKENS = 8
"""Tokens of a judge's reply at most."""


def judge_with(engine: Engine) -> Ask:
    """Chooses one of the options for each chat. A chat over the context gets an error; a reply that is no option is returned."""

    def ask(chats: Sequence[tuple[Message, ...]], options: Sequence[str]) -> list[JudgeReply]:
        prompts = [Prompt(chat, chat[-1].content) for chat in chats]
        sizes = [engine.count(prompt) + REPLY_TOKENS for prompt in prompts]
        fitting = [prompt for prompt, size in zip(prompts, sizes) if size <= engine.context]
        choices = iter(engine.choose(fitting, options) if fitting else ())
        return [
            _reply(next(choices))
            if size <= engine.context
            else JudgeReply(error=f"{size} tokens do not fit the judge's context of {engine.context}")
            for size in sizes
        ]

    return ask


def _reply(choice: Choice) -> JudgeReply:
    """A failed call may succeed the next time; a reply that is no option still counts as one."""
    return JudgeReply(error=f"the judge: {choice.error}", again=not choice.final) if choice.error else JudgeReply(choice.label)
