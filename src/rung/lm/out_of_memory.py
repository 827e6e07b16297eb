"""Retry with fewer tokens per pass when memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from rung.lm import processes

T = TypeVar("T")
Say = Callable[[str], object]

MIN_TOKENS = 128
"""Tokens per pass below which the budget is not halved again."""

ERRORS = (torch.OutOfMemoryError, MemoryError, RuntimeError)
"""What running out of memory may be raised as; these types have other causes too."""

ALLOCATION_FAILED = ("can't allocate memory", "not enough memory")
"""Text of PyTorch's plain RuntimeError when a CPU allocation fails: on Linux and macOS, and on Windows."""


class Budget:
    """Tokens per pass. Each time memory runs out it is halved for good, and `say` reports it."""

    def __init__(self, tokens: int, say: Say = lambda text: None):
        self.first = self.tokens = tokens
        self.say = say

    def halve(self, error: BaseException, items: int = 2) -> None:
        """Halve the budget. Raises the error again if it is not about memory, or if a smaller budget would not help.

        `items`: how many were to be computed; a single one cannot be split.
        """
        sharded = processes.uses_fsdp()  # the other processes wait for this one's shard of each layer, in lockstep
        if not ran_out(error) or sharded or items < 2 or self.tokens < 2 * MIN_TOKENS:
            raise error
        self.tokens //= 2
        self.say(f"out of memory: continuing with {self.tokens} tokens per pass")

    def scaled(self, limit: int) -> int:
        """Another limit, reduced by the same factor as this budget so far; at least 1."""
        return max(1, limit * self.tokens // self.first)


def ran_out(error: BaseException) -> bool:
    """Whether memory ran out. A failed CPU allocation is a plain RuntimeError; only its text tells."""
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(words in text for words in ALLOCATION_FAILED)


def run_in_parts(
    order: Sequence[int], budget: Budget, cut: Callable[[Sequence[int], int], list[list[int]]], do: Callable[[list[int]], T]
) -> Iterator[tuple[list[int], T]]:
    """Each part of `order`, split by `cut` within the budget, with the result of `do`."""
    parts = cut(order, budget.tokens)
    while parts:
        try:
            result = do(parts[0])
        except ERRORS as error:
            budget.halve(error, len(parts[0]))
            parts = cut([i for part in parts for i in part], budget.tokens)
        else:
            yield parts.pop(0), result


def retry_until_done(
    rows: Sequence[int],
    budget: Budget,
    work: Callable[[list[int]], Iterator[tuple[list[int], T]]],
    clear: Callable[[], None],
) -> Iterator[tuple[list[int], T]]:
    """Rows with their results, in the order `work` yields them.

    When memory runs out, `clear` drops what `work` cached, and `work` runs again on the rows still missing.
    """
    remaining = list(rows)
    while remaining:
        done: set[int] = set()
        try:
            for part, result in work(remaining):
                yield part, result
                done.update(part)
            return
        except ERRORS as error:
            clear()
            budget.halve(error)
        remaining = [row for row in remaining if row not in done]
