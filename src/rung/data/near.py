"""Near-duplicate texts: all pairs whose token sets overlap enough, found exactly and without comparing all pairs.

Prefix filtering (Bayardo, Ma and Srikant, WWW 2007) with the positional bound of PPJoin (Xiao et al., WWW 2008): two
sets that overlap enough must meet in one of their few rarest tokens, so only rows sharing one of those are compared.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# Scripts written without spaces give a token a character; elsewhere a token is a word, or a sign such as + or €.
_UNSPACED = r"\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_TOKEN = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+|[^\w\s]")

Tokens = frozenset[str]

BOILERPLATE = 0.8
"""Words in this share of the texts or more are a frame (a system prompt, an instruction) and are left out on both sides;
otherwise all rows behind one long frame would be near each other. From FEWEST_FRAMED texts on."""
FEWEST_FRAMED = 20


def tokens(text: str) -> Tokens:
    """The set of words and signs of a normalised text."""
    return frozenset(_TOKEN.findall(text))


@dataclass(frozen=True, slots=True)
class Index:
    """Texts made ready for `neighbours`."""

    threshold: float
    """Jaccard overlap from which two token sets are near: shared over all."""
    frame: Tokens
    sets: tuple[Tokens, ...]
    rarity: Counter[str]
    buckets: dict[str, dict[tuple[int, int], list[int]]]
    """token → (size of the set, rank of the token in it) → rows."""


def index(sets: Sequence[Tokens], threshold: float = 0.8) -> Index:
    rarity = Counter(token for one in sets for token in one)
    framed = len(sets) >= FEWEST_FRAMED
    frame = frozenset(token for token, count in rarity.items() if framed and count >= BOILERPLATE * len(sets))
    sets = [one - frame for one in sets]
    buckets: dict[str, dict[tuple[int, int], list[int]]] = {}
    for row, one in enumerate(sets):
        for rank, token in enumerate(_prefix(one, rarity, threshold)):
            buckets.setdefault(token, {}).setdefault((len(one), rank), []).append(row)
    return Index(threshold, frame, tuple(sets), rarity, buckets)


def neighbours(found_in: Index, one: Tokens) -> Iterator[int]:
    """Rows of the index whose token set is near `one`, each once, in no order. Lazy: stop when you have enough."""
    one = one - found_in.frame
    threshold, size = found_in.threshold, len(one)
    tried: set[int] = set()
    for rank, token in enumerate(_prefix(one, found_in.rarity, threshold)):
        for (other_size, other_rank), rows in found_in.buckets.get(token, {}).items():
            needed = threshold / (1 + threshold) * (size + other_size) - 1e-9
            # where this is the rarest token they share, no more than these are left to share
            if min(size - rank, other_size - other_rank) < needed:
                continue
            for row in rows:
                if row not in tried:
                    tried.add(row)
                    if len(one & found_in.sets[row]) >= needed:
                        yield row


def _prefix(one: Tokens, rarity: Counter[str], threshold: float) -> list[str]:
    """The rarest tokens, as many as it takes that two near sets must meet in one."""
    ordered = sorted(one, key=lambda token: (rarity[token], token))
    return ordered[: len(ordered) - math.ceil(threshold * len(ordered) - 1e-9) + 1] if ordered else []
