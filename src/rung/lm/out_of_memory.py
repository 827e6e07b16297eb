"""Going on with less at once where memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from rung.lm import processes

T = TypeVar("T")
Say = Callable[[str], object]

SMALLEST = 128
"""Tokens at once under which memory is not tried to be saved any further."""

ERRORS = (torch.OutOfMemoryError, MemoryError, RuntimeError)
"""What running out of memory may be raised as, among other things."""

ALLOCATION_FAILED = ("can't allocate memory", "not enough memory")
"""What PyTorch's bare RuntimeErrors say when a CPU allocation fails: on Linux and macOS, and on Windows."""


class Budget:
    """Tokens to compute at once: halved, which is said, each time that memory runs out, and kept so."""

    def __init__(self, tokens: int, say: Say = lambda text: None):
        self.first = self.tokens = tokens
        self.say = say

    def halve(self, error: BaseException, items: int = 2) -> None:
        """Half from now on. Raises the error again where it is of another kind, or where less would not help.

        `items`: of what was to be computed; one alone cannot be cut any smaller.
        """
        spread = processes.shards()  # the others wait for this one's part of each layer's weights, in step
        if not ran_out(error) or spread or items < 2 or self.tokens < 2 * SMALLEST:
            raise error
        self.tokens //= 2
        self.say(f"out of memory: going on with {self.tokens} tokens at once")

    def share(self, of: int) -> int:
        """What is left of another limit that was set beside this one, one at least."""
        return max(1, of * self.tokens // self.first)


def ran_out(error: BaseException) -> bool:
    """Whether it is memory that failed. A CPU allocation that fails is a bare RuntimeError; only its text tells."""
    said = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(words in said for words in ALLOCATION_FAILED)


def in_parts(
    order: Sequence[int], budget: Budget, cut: Callable[[Sequence[int], int], list[list[int]]], do: Callable[[list[int]], T]
) -> Iterator[tuple[list[int], T]]:
    """Each part of `order`, as `cut` cuts it within the budget, and what `do` makes of it."""
    parts = cut(order, budget.tokens)
    while parts:
        try:
            found = do(parts[0])
        except ERRORS as error:
            budget.halve(error, len(parts[0]))
            parts = cut([i for part in parts for i in part], budget.tokens)
        else:
            yield parts.pop(0), found


def until_done(
    rows: Sequence[int],
    budget: Budget,
    work: Callable[[list[int]], Iterator[tuple[list[int], T]]],
    clear: Callable[[], None],
) -> Iterator[tuple[list[int], T]]:
    """Rows and what `work` makes of them, as it comes.

    Where memory runs out, what `work` kept is cleared away and it is asked again for the rows still missing.
    """
    left = list(rows)
    while left:
        done: set[int] = set()
        try:
            for part, found in work(left):
                yield part, found
                done.update(part)
            return
        except ERRORS as error:
            clear()
            budget.halve(error)
        left = [row for row in left if row not in done]
