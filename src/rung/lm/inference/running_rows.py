"""The members of a running batch: prompts that wait to be read, and answers that are being written."""

from __future__ import annotations

from dataclasses import dataclass, field

from rung.lm.base import Writing
from rung.lm.inference.sample import Sampler
from rung.lm.models.serving import Adapter
from rung.lm.trees.radix import Node

Ids = tuple[int, ...]


@dataclass(eq=False)
class Waiting:
    """A prompt that is not read to its end yet."""

    writing: Writing
    ids: Ids
    sampler: Sampler
    scope: str
    adapter: Adapter | None = None
    node: Node | None = None
    """How far the radix tree has it; looked up again before each step."""
    known: int = 0
    cached: int = -1
    """Tokens that were known when it joined."""

    @property
    def rest(self) -> Ids:
        """What is to be read before the last token."""
        return self.ids[self.known : -1]


@dataclass(eq=False)
class Row:
    """An answer that is being written."""

    writing: Writing
    ids: Ids
    cached: int
    sampler: Sampler
    node: Node
    """The end of what it shares with others, or of its prompt."""
    depth: int
    """Position of the token that it is asked with next."""
    scope: str
    adapter: Adapter | None = None
    own: Node | None = None
    """What no longer fits into its slot."""
    length: int = 1
    """Tokens in its slot."""
    tokens: list[int] = field(default_factory=list)

    @property
    def chain(self) -> list[Node]:
        return [*self.node.chain, *([self.own] if self.own else [])]
