"""Rewrites a follow-up question as a standalone one before the search: "And for children?" finds nothing by itself."""

from __future__ import annotations

from collections.abc import Sequence

from rung import marks
from rung.lm.base import Decoding, Engine, Prompt
from rung.retrieve.ground import support
from rung.types import Example, Message

SYSTEM = "Rewrite the last question so that it can be understood without the conversation before it. Give the question only."
SHOWN = (
    Message("user", "Q: How long is the guarantee on frames?\nA: Five years.\nLast question: And on wheels?"),
    Message("assistant", "How long is the guarantee on wheels?"),
)
DECODING = Decoding(max_new_tokens=64)

TURNS = 4
"""Most turns of the conversation in the rewriting prompt."""

OWN_WORDS = 0.7
"""Share of a rewriting's words that must come from the conversation: invented words would be searched for."""


def standalone(examples: Sequence[Example], engine: Engine) -> list[str]:
    """The search query of each row: its question, or for a follow-up the model's rewriting.

    A rewriting that is empty, longer than the conversation or mostly invented is not used: then the previous question is
    prepended to the follow-up.
    """
    following = [example for example in examples if follows(example)]
    written = engine.generate([prompt(example) for example in following], DECODING) if following else []
    found = {id(example): completion.text for example, completion in zip(following, written)}
    return [checked(example, found[id(example)]) if id(example) in found else example.input for example in examples]


def follows(example: Example) -> bool:
    """Whether a row's question follows others, so that it is rewritten before the search."""
    return any(turn.role == "user" for turn in example.history)


def _conversation(example: Example) -> str:
    turns = [turn for turn in example.history if turn.role != "system"][-TURNS:]
    return "\n".join(f"{'Q' if turn.role == 'user' else 'A'}: {marks.defuse(turn.content)}" for turn in turns)


def prompt(example: Example) -> Prompt:
    """What the model is asked for a rewriting; answered by `DECODING`."""
    asked = f"{_conversation(example)}\nLast question: {marks.defuse(example.input)}"
    return Prompt((Message("system", SYSTEM), *SHOWN, Message("user", asked)), example.input)


def checked(example: Example, written: str) -> str:
    """What is searched for: the rewriting, or what stands in for one that is not used."""
    conversation = f"{_conversation(example)}\n{example.input}"
    if written.strip() and len(written) <= len(conversation) and support(written, conversation) >= OWN_WORDS:
        return written.strip()
    before = [turn.content for turn in example.history if turn.role == "user"]
    return f"{before[-1]} {example.input}"
