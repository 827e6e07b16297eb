"""Conversations that are too long for a model: the earliest exchanges are left out of the prompt, whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from rung.lm.base import Prompt
from rung.lm.engine_kinds import can
from rung.lm.engines import Engines
from rung.predictor.value import PredictorFields
from rung.types import Example


def shortened(asked: PredictorFields, row: Example, render: Callable[[Example], Prompt], engines: Engines) -> Prompt:
    """A row's prompt, without as many of its earliest exchanges as it takes to leave room for the answer.

    A turn is never cut, the system message stays, and what is left begins with a user's turn. `Prompt.left_out` counts the
    turns. A prompt that is too long without any of them comes back as it is: it has them all, and is not asked.
    """
    whole = render(row)
    starts = [at for at, turn in enumerate(row.history) if turn.role == "user"]
    context = _context(asked, engines) if starts else None
    if not context:
        return whole
    room = context - min(asked.decoding.max_new_tokens, context // 4)

    def fits(prompt: Prompt) -> bool:
        return engines.tokens(asked.model, prompt, "")[0] <= room

    if fits(whole):
        return whole
    system = tuple(turn for turn in row.history if turn.role == "system")
    for start in (*starts[1:], len(row.history)):
        rest = tuple(turn for turn in row.history[start:] if turn.role != "system")
        left = sum(turn.role != "system" for turn in row.history[:start])
        shorter = replace(render(replace(row, history=(*system, *rest))), left_out=left)
        if fits(shorter):
            return shorter
    return whole


def _context(asked: PredictorFields, engines: Engines) -> int | None:
    """Tokens that a prompt and its answer may have; None if that is unknown before the weights are open."""
    if can(asked.model).chat_template:
        return engines.context(asked.model)
    return engines.open(asked.model).context
