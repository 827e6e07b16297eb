"""What a backend is: a program with a model in it that goes on from the tokens of a prompt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from rung.lm.base import Decoding, ModelRef
from rung.machine import Machine

if TYPE_CHECKING:
    from rung.lm.models.chat import Chat
    from rung.lm.models.hub import ModelFiles


@dataclass(frozen=True, slots=True)
class Asked:
    """One answer that is wanted of a backend."""

    ids: tuple[int, ...]
    """Tokens of the prompt, rendered and cut by rung."""
    decoding: Decoding
    limit: int
    """Most tokens of the answer."""
    seed: int
    scope: str = ""
    """What answers of one scope computed is never found by those of another."""
    grammar: str = ""
    """Of llguidance, which the answer follows; empty for free text."""


@dataclass(frozen=True, slots=True)
class End:
    """How an answer ended."""

    finished: bool
    """False where it was cut at its limit."""
    tokens: int
    """Written, with the end token."""
    cached: int = 0
    """Tokens of the prompt that were not computed again."""


Heard = Callable[[str], bool]
"""Receives the next characters of an answer, in the thread that called `write`; False ends the answer."""


class Backend(Protocol):
    """A loaded model of another program. `write` may be called by `together` threads at once."""

    @property
    def name(self) -> str:
        """The program with its version."""
        ...

    @property
    def numbers(self) -> str:
        """The type of the weights, by which agreement is judged: a key of `rung.export.limits.LIMITS`."""
        ...

    @property
    def together(self) -> int:
        """Answers that it writes at once."""
        ...

    @property
    def context(self) -> int:
        """Most tokens that a prompt and its answer may have together."""
        ...

    def write(self, asked: Asked, heard: Heard) -> End:
        """Write one answer. ModelError where the program fails."""
        ...

    def greedy(self, ids: tuple[int, ...], most: int) -> tuple[tuple[int, ...], bool]:
        """The greedy answer to these tokens as tokens, without its end, and whether it ended before `most` tokens.

        Asked while nothing else is, to compare engines.
        """
        ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """A model that a backend is to load."""

    ref: ModelRef
    found: ModelFiles
    """Of its base."""
    chat: Chat
    context: int
    machine: Machine
    say: Callable[[str], object]
    address: str = ""
    """Of a server that runs already; empty to start one."""
