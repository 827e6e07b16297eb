"""What an engine is asked to prove an export: how it renders and cuts a prompt, what it writes, what it finds likeliest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Tokens = tuple[int, ...]
Turns = Sequence[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Written:
    """A greedy answer."""

    tokens: Tokens
    """Without the token that ended it."""
    text: str
    ended: bool
    """False where it was cut."""
    end: Tokens = ()
    """The token that ended it, where the engine says which."""


class Reader(Protocol):
    """An export, loaded by the engine that it is meant for."""

    @property
    def engine(self) -> str:
        """The engine's name and version."""
        ...

    def render(self, turns: Turns, tools: Turns) -> str:
        """A chat as text, by the template that the export brings."""
        ...

    def cut(self, text: str) -> Tokens:
        """Tokens of a rendered prompt."""
        ...

    def write(self, prompt: Tokens, most: int) -> Written:
        """The greedy answer of at most so many tokens."""
        ...

    def likeliest(self, prompt: Tokens, answer: Tokens) -> list[int]:
        """At each place of `answer` the likeliest token, given the prompt and what of the answer stands before."""
        ...

    def close(self) -> None:
        """Free its memory."""
        ...
